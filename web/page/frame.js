// frame.js: what is asked for many times is done once, with the next frame of the screen.

const due = new Set();
let asked = false;

export function soon(f) {
	due.add(f);
	if (asked) return;
	asked = true;
	// A hidden page gets no frames, and has no hurry.
	if (document.hidden) setTimeout(run, 250);
	else requestAnimationFrame(run);
}

function run() {
	asked = false;
	const now = [...due];
	due.clear();
	for (const f of now) f();
}
