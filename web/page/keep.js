// keep.js: what the browser remembers for us, where it allows that; else it is asked for again.

function keeper(storage) {
	return {
		get(key) {
			try {
				return window[storage].getItem(`rookery.${key}`) ?? "";
			} catch {
				return "";
			}
		},
		set(key, value) {
			try {
				if (value) window[storage].setItem(`rookery.${key}`, value);
				else window[storage].removeItem(`rookery.${key}`);
			} catch {
				// Forbidden, or full.
			}
		},
	};
}

export const lasting = keeper("localStorage"); // for this browser
export const passing = keeper("sessionStorage"); // for this window

// list reads a list of strings; whatever else is stored there is no list.
export function list(text) {
	try {
		const value = JSON.parse(text);
		return Array.isArray(value) ? value.filter((x) => typeof x === "string") : [];
	} catch {
		return [];
	}
}
