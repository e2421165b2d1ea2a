// format.js: the text of a message as nodes: links, `code` and ```blocks``` of code. There is
// no HTML in between, so nothing that is written can become any.

const MARKS = /```(?:[a-z0-9+-]*\n)?([^]+?)```|`([^`\n]+)`|(https?:\/\/[^\s<>"`]+)/g;

// parse parts a text into {kind: "text" | "block" | "code" | "link", text}.
export function parse(text) {
	const parts = [];
	let from = 0;
	const plain = (to) => to > from && parts.push({ kind: "text", text: text.slice(from, to) });
	for (const match of text.matchAll(MARKS)) {
		const [all, block, code, link] = match;
		const url = link && address(link);
		if (link && !url) continue;
		plain(match.index);
		from = match.index + (url ? url.length : all.length);
		if (url) parts.push({ kind: "link", text: url });
		else if (code) parts.push({ kind: "code", text: code });
		else parts.push({ kind: "block", text: block.replace(/\n$/, "") });
	}
	plain(text.length);
	return parts;
}

// address takes off what ends a sentence and not a link; null when nothing good is left.
function address(link) {
	let url = link.replace(/[.,;:!?'*_]+$/, "");
	while (url.endsWith(")") && url.split(")").length > url.split("(").length) url = url.slice(0, -1);
	try {
		const { protocol, host } = new URL(url);
		return host && /^https?:$/.test(protocol) ? url : null;
	} catch {
		return null;
	}
}

export function formatted(text) {
	const all = document.createDocumentFragment();
	for (const { kind, text: t } of parse(text)) {
		if (kind === "text") {
			all.append(t);
			continue;
		}
		const e = document.createElement({ link: "a", code: "code", block: "pre" }[kind]);
		e.textContent = t;
		if (kind === "link") {
			e.href = t;
			e.target = "_blank";
			e.rel = "noopener noreferrer nofollow";
		}
		if (kind === "block") e.tabIndex = 0; // it scrolls, so the keyboard must reach it
		all.append(e);
	}
	return all;
}
