// door.js: who comes in: by a name, or by a token where the node wants one. A token is kept for
// this window, and stands in no address.

import { $ } from "./dom.js";
import { lasting, passing } from "./keep.js";

const { tokens } = document.body.dataset; // "only", "too", or undefined where names will do
let token = passing.get("token");
let user = ""; // whom it is for
let fresh = null; // the promise of another one

$("token-label").hidden = !tokens;
$("name-label").hidden = tokens === "only";
$("name").value = lasting.get("name");

// visitor tells who wants to come in: a user's name, and whether a token says so.
export function visitor() {
	if (!token) return { user: $("name").value.trim().normalize("NFC") };
	user = userOf(token);
	fresh = null;
	return { user, token: renewed };
}

// take reads the form: a token of this visit goes before a name. It returns what is wrong.
export function take() {
	const pasted = $("token").value.trim();
	if (!pasted && !visitor().user) return tokens === "only" ? "A token is needed here." : "Who are you?";
	if (!pasted) return "";
	if (!userOf(pasted)) return "This is no token: it should have three parts with dots between them, and say who you are.";
	keep(pasted);
	$("token").value = "";
	return "";
}

// forget takes the token out of the window's memory: it is not good any more, or not wanted.
export function forget() {
	keep("");
}

function keep(text) {
	token = text;
	passing.set("token", text);
}

// renewed is the token to say hello with. When the last one is gone, the user is asked for another
// one, over the page, which keeps all that it shows and what was begun to be written.
function renewed() {
	return token || (fresh ??= new Promise(ask).finally(() => (fresh = null)));
}

function ask(resolve) {
	const dialog = $("renew");
	dialog.onclose = () => {
		const pasted = $("fresh").value.trim();
		$("fresh").value = "";
		if (dialog.returnValue === "out") return; // the page sees to that
		if (userOf(pasted) === user) {
			keep(pasted);
			return resolve(pasted);
		}
		$("renew-why").textContent = pasted ? `This is no token of ${user}.` : "";
		dialog.showModal();
	};
	$("renew-why").textContent = "";
	dialog.showModal();
}

// userOf reads whom a token is for; "" when it is none. Whether it is good the node judges.
function userOf(text) {
	try {
		const claims = atob(text.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
		const { sub } = JSON.parse(new TextDecoder().decode(Uint8Array.from(claims, (c) => c.charCodeAt(0))));
		return typeof sub === "string" ? sub.normalize("NFC") : "";
	} catch {
		return "";
	}
}
