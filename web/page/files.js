// files.js: pictures and files, sent and taken as the data of a message.

import { banner } from "./banner.js";
import { bytes, element } from "./dom.js";

const ROOM = 1024; // bytes of a frame for all that is not the file
const SHRUNK = [1600, 1200, 900, 640, 480, 320]; // pixels to try for a picture that is too large

// send says files in the conversation that is shown.
export async function send(composer, files) {
	const { chat } = composer;
	for (const file of files) {
		try {
			const data = await read(file, chat.client.maxFrame);
			if (chat === composer.chat) composer.publish(data);
		} catch (err) {
			banner(err.message, "failed");
		}
	}
}

// most is how large a file may be: base64 makes four characters of three bytes.
export function most(maxFrame) {
	return Math.floor(((maxFrame - ROOM) / 4) * 3);
}

// read makes a message's data of a File. A picture that is too large is made smaller; any
// other file that is throws an error for people.
export async function read(file, maxFrame) {
	const limit = most(maxFrame);
	const name = (file.name || "picture.png").slice(-150).toWellFormed?.() ?? "file";
	const size = file.type.startsWith("image/") ? await sizeOf(file) : null;
	let blob = file;
	if (file.size > limit && size && file.type !== "image/gif") blob = await shrink(file, size, limit);
	if (blob.size > limit) {
		throw new Error(`${name} has ${bytes(file.size)}: at most ${bytes(limit)} fit into one message here.`);
	}
	const measure = size && { width: size.width, height: size.height };
	return { text: "", file: { name, ...measure, url: await dataURL(blob) } };
}

async function sizeOf(file) {
	try {
		const bitmap = await createImageBitmap(file);
		const { width, height } = bitmap;
		bitmap.close();
		return { width, height };
	} catch {
		return null; // no picture that this browser knows
	}
}

async function shrink(file, { width, height }, limit) {
	for (const side of SHRUNK) {
		const scale = Math.min(1, side / Math.max(width, height));
		const bitmap = await createImageBitmap(file, { resizeWidth: Math.ceil(width * scale), resizeHeight: Math.ceil(height * scale), resizeQuality: "high" });
		const canvas = document.createElement("canvas");
		canvas.width = bitmap.width;
		canvas.height = bitmap.height;
		canvas.getContext("2d").drawImage(bitmap, 0, 0);
		bitmap.close();
		const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/webp", 0.8));
		if (blob && blob.size <= limit) return blob;
	}
	return file;
}

function dataURL(blob) {
	return new Promise((resolve, reject) => {
		const reader = new FileReader();
		// A file without a type, or with an odd one, is bytes.
		const type = /^[a-z]+\/[a-z0-9.+-]+$/.test(blob.type) ? blob.type : "application/octet-stream";
		reader.onload = () => resolve(String(reader.result).replace(/^data:[^,]*,/, `data:${type};base64,`));
		reader.onerror = () => reject(new Error("The file could not be read."));
		reader.readAsDataURL(blob);
	});
}

// save gives the browser a file of any type as bytes, which it stores and never shows.
export function save({ name, base64 }) {
	const content = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
	const url = URL.createObjectURL(new Blob([content], { type: "application/octet-stream" }));
	Object.assign(element("a"), { href: url, download: name }).click();
	setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
