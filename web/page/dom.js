// dom.js: making elements, and when to draw. What others wrote reaches the page as text only.

export const $ = (id) => document.getElementById(id);

export function element(tag, className = "", ...children) {
	const e = document.createElement(tag);
	if (className) e.className = className;
	e.append(...children);
	return e;
}

// isolated is a name that cannot change the direction of what stands around it.
export function isolated(name) {
	return element("bdi", "", name || "the server");
}

export function button(className, label, text, onclick) {
	const b = element("button", className, text);
	b.type = "button";
	if (label) b.title = label;
	if (label) b.setAttribute("aria-label", label);
	if (onclick) b.addEventListener("click", onclick);
	return b;
}

export function count(n, noun) {
	return `${n} ${noun}${n === 1 ? "" : "s"}`;
}

// hue is the colour that goes with a name.
export function hue(name) {
	let h = 0;
	for (const c of name) h = (h * 31 + c.codePointAt(0)) % 360;
	return h;
}

// bytes writes a size for people.
export function bytes(n) {
	return n < 1024 ? `${n} bytes` : n < 1 << 20 ? `${Math.ceil(n / 1024)} KB` : `${(n / (1 << 20)).toFixed(1)} MB`;
}

// What is asked for many times is done once, with the next frame of the screen.
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
