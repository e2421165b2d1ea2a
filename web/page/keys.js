// keys.js: the keys that work everywhere on the page.

import { $ } from "./dom.js";

// keys has page do what is asked for: {current, open, drawer, help}; current tells the conversation's name.
export function keys(page) {
	// step opens the conversation above or below the current one; with news only, where there are any.
	function step(by, newsOnly) {
		const all = [...$("nav").querySelectorAll("#rooms button, #directs button")];
		const names = all.filter((b) => !newsOnly || b.querySelector(".count") || b.dataset.name === page.current()).map((b) => b.dataset.name);
		const to = names[(names.indexOf(page.current()) + by + names.length) % names.length];
		if (to) page.open(to);
	}
	const does = {
		"Alt+ArrowUp": () => step(-1),
		"Alt+ArrowDown": () => step(1),
		"Alt+Shift+ArrowUp": () => step(-1, true),
		"Alt+Shift+ArrowDown": () => step(1, true),
		"Ctrl+k": () => (page.drawer(true), $("to").focus()),
		"Ctrl+/": page.help,
		"?": page.help,
	};
	document.addEventListener("keydown", (e) => {
		if (!page.current() || document.querySelector("dialog[open]")) return;
		const name = `${e.ctrlKey || e.metaKey ? "Ctrl+" : ""}${e.altKey ? "Alt+" : ""}${e.shiftKey && e.altKey ? "Shift+" : ""}${e.key}`;
		const typed = name === "?" && /^(INPUT|TEXTAREA)$/.test(e.target.tagName);
		if (does[name] && !typed) {
			e.preventDefault();
			does[name]();
		} else if (e.key === "Escape" && !e.defaultPrevented) {
			if (page.drawer(false)) $("menu").focus();
			else $("text").focus();
		}
	});
}
