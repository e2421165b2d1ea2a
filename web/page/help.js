// help.js: what can be done, in a dialog.

import { $, element } from "./dom.js";

// What stands between ‹ and › is a key.
const HELP = [
	["‹Enter›", "Send; ‹Shift›+‹Enter› begins a new line"],
	["‹↑›", "In an empty field: edit your last message"],
	["‹Esc›", "Stop replying or editing; back to the field"],
	["‹Alt›+‹↑› ‹↓›", "Other conversations; with ‹Shift›, those with news"],
	["‹Ctrl›+‹K›", "Go to a room, or to @somebody"],
	["‹↑› ‹↓›", "In the messages: from one to the next. There, ‹R› replies, ‹+› reacts, ‹E› edits, ‹Delete› deletes"],
	["‹Ctrl›+‹/›", "This help"],
	["Text", "`code`, and ```blocks``` between three of them. Paste or drop pictures and files."],
];

export function open() {
	const dialog = $("help");
	if (!dialog.firstChild) fill(dialog);
	dialog.showModal();
}

function fill(dialog) {
	const title = element("h2", "", "Help");
	title.id = "help-title";
	const list = element("dl");
	for (const [key, what] of HELP) list.append(element("dt", "", ...keyed(key)), element("dd", "", ...keyed(what)));
	const form = element("form", "", title, list, element("button", "primary", "Close"));
	form.method = "dialog";
	dialog.append(form);
}

const keyed = (text) => text.split(/‹(.*?)›/).map((part, i) => (i % 2 ? element("kbd", "", part) : part));
