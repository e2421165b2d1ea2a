// later.js: what opening the page does not need. It comes when it is first wanted, and all of it when the
// page has nothing else to do: then it is there when the network is not, and of the same version.

import { banner } from "./banner.js";

const all = [];
let style = null;

// later returns a function that lets something use a module, as soon as that is here, with its style.
export function later(load) {
	let loading = null;
	const get = () => (loading ??= Promise.all([load(), (style ??= styled())]));
	const use = (f) =>
		get().then(
			([module]) => f(module),
			(err) => {
				loading = style = null;
				banner(`A part of this page did not come: ${err.message}`, "failed");
			},
		);
	all.push(() => get().then(null, () => (loading = style = null)));
	return use;
}

export function prefetch() {
	if (all.length === 0) return;
	const idle = window.requestIdleCallback ?? setTimeout;
	idle(() => Promise.all(all.splice(0).map((get) => get())).then(() => performance.mark("whole")), { timeout: 1000 });
}

export function styled() {
	return new Promise((resolve, reject) => {
		const link = document.createElement("link");
		link.onload = resolve;
		link.onerror = () => reject(new Error("its style is missing"));
		document.head.append(Object.assign(link, { rel: "stylesheet", href: "/later.css" }));
	});
}
