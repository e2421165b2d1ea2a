// Real nodes, and a TCP proxy that cuts what runs through it.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Builds the binary, unless ROOKERY names one; remove() takes it away. */
export async function build() {
	if (process.env.ROOKERY) return { path: process.env.ROOKERY, remove: async () => {} };
	const dir = await mkdtemp(join(tmpdir(), "rookery-web-"));
	const path = join(dir, "rookery");
	await promisify(execFile)("go", ["build", "-o", path, "./cmd/rookery"], { cwd: root });
	return { path, remove: () => rm(dir, { recursive: true }) };
}

/** Starts a node that runs alone, on a free port. */
export async function startNode(path, ...flags) {
	const args = ["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-format", "json", "--drain-delay", "0s", ...flags];
	const child = spawn(path, args, { stdio: ["ignore", "ignore", "pipe"] });
	const exit = once(child, "exit");
	const port = await new Promise((resolve, reject) => {
		const log = [];
		createInterface({ input: child.stderr }).on("line", (line) => {
			log.push(line);
			const { msg, addr } = JSON.parse(line);
			if (msg === "listening") resolve(Number(addr.split(":").at(-1)));
		});
		exit.then(() => reject(new Error(`the node did not start:\n${log.join("\n")}`)));
	});
	return {
		port,
		stop: async (signal = "SIGKILL") => {
			child.kill(signal);
			await exit;
		},
	};
}

/** A proxy on its own port, through which a client reaches a node. */
export async function startProxy(port) {
	const pairs = new Set();
	let up = true;
	const server = net.createServer((near) => {
		if (!up) return near.destroy();
		const far = net.connect(proxy.target, "127.0.0.1");
		const pair = { near, far, bytes: 0, limit: Infinity };
		pairs.add(pair);
		proxy.accepted++;
		const end = () => {
			pairs.delete(pair);
			near.destroy();
			far.destroy();
		};
		near.on("error", end).on("close", end).on("data", (b) => far.write(b));
		far.on("error", end).on("close", end).on("data", (b) => {
			// A limit cuts in the midst of what the node sends.
			near.write(b.subarray(0, Math.max(0, pair.limit - pair.bytes)));
			pair.bytes += b.length;
			if (pair.bytes >= pair.limit) near.end();
		});
	});
	const proxy = {
		target: port,
		accepted: 0,
		url: "",
		/** Cuts all connections; with n, once n more bytes have come from the node. */
		cut(n) {
			for (const pair of pairs) {
				if (n === undefined) pair.near.destroy();
				else pair.limit = pair.bytes + n;
			}
		},
		/** Lets no connection through, or again. */
		set up(v) {
			up = v;
			if (!v) proxy.cut();
		},
		stop() {
			proxy.cut();
			return new Promise((resolve) => server.close(resolve));
		},
	};
	server.listen(0, "127.0.0.1");
	await once(server, "listening");
	proxy.url = `ws://127.0.0.1:${server.address().port}/ws`;
	return proxy;
}
