// emoji.js: a small picker. What is chosen goes to who asked.

import { $, button } from "./dom.js";

const LIST =
	"👍 thumbs up,👎 thumbs down,❤️ heart,😀 grin,😂 tears of joy,😅 sweat,😊 smile,😍 in love,😉 wink,😎 cool,🤔 thinking,😐 neutral," +
	"🙄 eye roll,😴 asleep,😢 crying,😭 sobbing,😡 angry,😱 shocked,🤗 hug,🤷 shrug,🙈 see no evil,🙏 please,👏 applause,💪 strong," +
	"👋 wave,👌 okay,✌️ peace,🤞 fingers crossed,👀 eyes,🎉 party,🔥 fire,✨ sparkles,⭐ star,💯 hundred,✅ done,❌ no," +
	"❓ question,❗ attention,💡 idea,🐛 bug,🚀 rocket,☕ coffee,🍕 pizza,🍺 beer,🎂 cake,🌞 sun,🌧️ rain,🐦 bird";

let choose = () => {};
let opener = null;

// open shows the picker beside an element, and calls chosen with one emoji.
export function open(beside, chosen) {
	const picker = $("emojis");
	if (picker.childElementCount === 0) fill(picker);
	choose = chosen;
	opener = beside;
	picker.showPopover();
	const at = beside.getBoundingClientRect();
	const { offsetWidth: width, offsetHeight: height } = picker;
	picker.style.left = `${Math.max(8, Math.min(at.left, innerWidth - width - 8))}px`;
	picker.style.top = `${Math.max(8, at.top > height + 16 ? at.top - height - 8 : Math.min(at.bottom + 8, innerHeight - height - 8))}px`;
	picker.firstElementChild.focus();
}

function fill(picker) {
	for (const entry of LIST.split(",")) {
		const space = entry.indexOf(" ");
		const emoji = entry.slice(0, space);
		picker.append(
			button("", entry.slice(space + 1), emoji, () => {
				picker.hidePopover();
				choose(emoji);
			}),
		);
	}
	picker.addEventListener("keydown", (e) => {
		const columns = getComputedStyle(picker).gridTemplateColumns.split(" ").length;
		const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[e.key];
		if (!step) return;
		e.preventDefault();
		const all = [...picker.children];
		all[all.indexOf(document.activeElement) + step]?.focus();
	});
	picker.addEventListener("toggle", (e) => e.newState === "closed" && document.activeElement === document.body && opener?.focus());
}
