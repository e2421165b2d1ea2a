// banner.js: what goes on with the connection, in one calm line.

import { $ } from "./dom.js";

const BRIEF = 15_000; // how long good news stay, in ms
let timer = 0;

// banner shows a text; state is "lost", "recovered", "missing" or "failed".
export function banner(text, state = "") {
	clearTimeout(timer);
	const b = $("banner");
	b.dataset.state = state;
	$("banner-text").textContent = text;
	b.hidden = !text;
	if (state === "recovered") timer = setTimeout(() => banner(""), BRIEF);
}

$("banner-close").addEventListener("click", () => banner(""));
