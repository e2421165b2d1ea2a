// notify.js: tells of news while the page is hidden: in the title, and on the desktop where
// the user has asked for that.

import { $ } from "./dom.js";
import { lasting } from "./keep.js";

const possible = "Notification" in window && window.isSecureContext;
let unseen = 0;
let wanted = lasting.get("notify") === "yes";

const granted = () => possible && Notification.permission === "granted";

function show() {
	const on = wanted && granted();
	$("notify").hidden = !possible;
	$("notify").setAttribute("aria-pressed", on);
	$("notify").textContent = on ? "Notifications on" : "Notify me";
}

function count(n) {
	unseen = n;
	document.title = (n > 0 ? `(${n}) ` : "") + document.title.replace(/^\(\d+\) /, "");
}

// notify tells of a message in a conversation, and calls open when the user wants to see it.
export function notify(from, { name, direct }, text, open) {
	if (!document.hidden) return;
	count(unseen + 1);
	if (!wanted || !granted()) return;
	try {
		const title = direct ? from : `${from} in ${name === "*" ? "Everyone" : name}`;
		const n = new Notification(title, { body: text.slice(0, 200), tag: name, icon: "/icon.svg" });
		n.onclick = () => {
			window.focus();
			open();
			n.close();
		};
	} catch {
		// Some phones allow this to service workers only.
	}
}

document.addEventListener("visibilitychange", () => document.hidden || count(0));

// The browser asks the user, so it is done when the user has asked for it.
$("notify").addEventListener("click", async () => {
	wanted = !(wanted && granted());
	if (wanted && !granted()) wanted = (await Notification.requestPermission()) === "granted";
	lasting.set("notify", wanted ? "yes" : "");
	show();
});
show();
