// data.js: what the data of a message means to this page. README.md lists the kinds.
//
// "text" or {"text": …} is something said, with "file" for a picture or a file. A kind refers
// to an earlier message: in a room by its offset; between two people, whose inboxes count
// differently, by the id that the message carries and the name of who wrote it ("by").

const KINDS = ["reply", "edit", "delete", "reaction"];
const SHORT = 64; // characters of an id
const PICTURES = ["image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"]; // none that can hold a script

const isObject = (v) => typeof v === "object" && v !== null && !Array.isArray(v);
const isShort = (v) => typeof v === "string" && v.length > 0 && v.length <= SHORT;

// kindOf tells which kind of message data is: "" where it refers to nothing, also when it tries to.
export function kindOf(data, direct) {
	if (!isObject(data) || !KINDS.includes(data.kind)) return "";
	const { kind, of, by, text, emoji } = data;
	if (direct ? !isShort(of) : !(Number.isSafeInteger(of) && of > 0)) return "";
	if (direct && (kind === "reply" || kind === "reaction") && typeof by !== "string") return "";
	if ((kind === "reply" || kind === "edit") && typeof text !== "string") return "";
	if (kind === "reaction" && (typeof emoji !== "string" || !/^\S{1,16}$/.test(emoji))) return "";
	return kind;
}

// targetOf names the message that a kind refers to; refOf is the name of a message.
// Only their authors may edit and delete: between two people the author is part of the name.
export function targetOf({ from = "", data }, direct) {
	if (!direct) return String(data.of);
	return `${data.kind === "edit" || data.kind === "delete" ? from : data.by}/${data.of}`;
}

export function refOf({ from = "", offset, data }, direct) {
	if (!direct) return String(offset);
	return isObject(data) && isShort(data.id) ? `${from}/${data.id}` : "";
}

// contentOf is what a message says: {text, file}, or {text, raw} of other programs' JSON.
export function contentOf(data) {
	if (typeof data === "string") return { text: data };
	if (isObject(data)) {
		const file = fileOf(data.file);
		if (typeof data.text === "string" && (data.text || file)) return { text: data.text, file };
		if (file) return { text: "", file };
	}
	return { text: JSON.stringify(data), raw: true };
}

// fileOf reads {"name", "url": "data:…;base64,…", "width", "height"}; null when it is none.
export function fileOf(file) {
	if (!isObject(file) || typeof file.name !== "string" || typeof file.url !== "string") return null;
	const match = /^data:([a-z]+\/[a-z0-9.+-]+);base64,([A-Za-z0-9+/]+={0,2})$/.exec(file.url);
	if (!match) return null;
	const [, type, base64] = match;
	const side = (n) => (Number.isInteger(n) && n > 0 && n < 20_000 ? n : 0);
	return {
		name: file.name.slice(0, 200) || "file",
		size: Math.floor((base64.length * 3) / 4) - (base64.match(/=+$/)?.[0].length ?? 0),
		picture: PICTURES.includes(type),
		url: file.url,
		base64,
		width: side(file.height) && side(file.width),
		height: side(file.width) && side(file.height),
	};
}

// markOf and roomsOf read what this page writes into the own inbox: that a person's messages are
// read, and which rooms the user is in (rooms.js).
export function markOf(data) {
	if (!isObject(data) || data.kind !== "mark") return null;
	return typeof data.with === "string" && Number.isSafeInteger(data.offset) ? data : null;
}

export function roomsOf(data, offset) {
	if (!isObject(data) || data.kind !== "rooms") return null;
	const { rooms, upto = offset, add = [], drop = [] } = data;
	if (rooms) return isNames(rooms) && Number.isSafeInteger(upto) && upto <= offset ? { rooms, upto } : null;
	return isNames(add) && isNames(drop) ? { add, drop } : null;
}

const isNames = (v) => Array.isArray(v) && v.every((name) => typeof name === "string");
