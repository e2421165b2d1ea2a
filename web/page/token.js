// token.js: who comes in where the node takes tokens: by a token, or by a name where that will do. A token
// is kept for this window, and stands in no address.

import { $, element } from "./dom.js";
import { passing } from "./keep.js";
import { styled } from "./later.js";

const only = document.body.dataset.tokens === "only"; // nobody comes in by a name
let token = passing.get("token");
let user = ""; // whom it is for
let fresh = null; // the promise of another one

const field = element("input");
Object.assign(field, { id: "token", type: "password", autocomplete: "off" });
const named = $("name").parentElement;
named.hidden = only;
named.after(element("label", "", "Token that says who you are ", field));

// visitor tells who wants to come in: a user's name, and whether a token says so.
export function visitor() {
	if (!token) return { user: only ? "" : $("name").value.trim().normalize("NFC") };
	user = userOf(token);
	fresh = null;
	return { user, token: renewed };
}

// take reads the form: a token of this visit goes before a name. It returns what is wrong.
export function take() {
	const pasted = field.value.trim();
	if (!pasted) return visitor().user ? "" : only ? "A token is needed here." : "Who are you?";
	if (!userOf(pasted)) return "This is no token: it should have three parts with dots between them, and say who you are.";
	keep(pasted);
	field.value = "";
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
	if (!dialog.firstChild) fill(dialog);
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

function fill(dialog) {
	const make = (tag, text, attributes) => {
		const e = element(tag, "", text);
		for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
		return e;
	};
	const form = make("form", "", { method: "dialog" });
	form.append(
		make("h2", "Your token has expired", { id: "renew-title" }),
		make("p", "Paste another one to go on. Nothing is lost, not even what you have begun to write.", {}),
		make("input", "", { id: "fresh", type: "password", autocomplete: "off", "aria-label": "Token", placeholder: "Token" }),
		make("p", "", { id: "renew-why", role: "alert" }),
		make("button", "Go on", { class: "primary" }),
		" ",
		make("button", "Sign out", { value: "out" }),
	);
	dialog.append(form);
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
