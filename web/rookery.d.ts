// Types of rookery.js, the JavaScript client of the protocol rookery.v1.

/** Any JSON. */
export type JSONValue = null | boolean | number | string | JSONValue[] | { [key: string]: JSONValue };

/** One place in a topic's log: the message `offset` (from 1) of the log's life `epoch`. */
export interface Position {
	epoch: string;
	offset: number;
}

export interface Options {
	/** The name to go by, on a cluster that lets anonymous users in. */
	user?: string;
	/**
	 * A token that says who the user is, or a function that returns one. The function is asked
	 * anew for each connection, so its tokens may expire; it may take its time, as when it asks a
	 * person, and when it fails, the client tries again.
	 */
	token?: string | (() => string | Promise<string>);
	/**
	 * The topics to be in from the first connection on, and how far the program got in each:
	 * what `cursors()` returned to an earlier run of it.
	 */
	resume?: Record<string, Position>;
	/** The WebSocket to use, where there is no global one. */
	WebSocket?: unknown;
	/** Replaces time and chance, in tests. Times are in milliseconds, random is in [0, 1). */
	clock?: Partial<Clock>;
}

export interface Clock {
	now(): number;
	setTimeout(f: () => void, ms: number): unknown;
	clearTimeout(timer: unknown): void;
	random(): number;
}

export interface JoinOptions {
	/** Go on behind this position. Not together with `recent`. */
	after?: Position;
	/** Begin with so many of the newest messages. With neither, messages come from now on. */
	recent?: number;
	/** Tell who comes and goes, and keep the `roster()`. */
	presence?: boolean;
}

/** The answer to a join. */
export interface Joined extends Position {
	topic: string;
	/** The newest message of the log. */
	offset: number;
	/** The next message that comes is after + 1. */
	after: number;
	/** False when messages between the position asked for and `after` are no longer in the log. */
	recovered: boolean;
	/** The user's own read offset: offset - read messages are unread. */
	read: number;
	/** With presence: how many users are in the topic, and their names (the first ones, when `more`). */
	version?: number;
	online?: number;
	members?: string[];
	more?: boolean;
	next?: string;
}

/** The answer to a publish: where the message is stored. */
export interface Published extends Position {
	topic: string;
	/** It was stored before, under the same key. */
	duplicate?: boolean;
	/** For inboxes: on how many nodes the user is online. 0: nobody sees it now. */
	reached?: number;
}

export interface Message<T = any> {
	type: "message";
	topic: string;
	/** The epoch and offset are what `join` takes as `after` to go on behind this message. */
	epoch: string;
	offset: number;
	/** Who published it. Missing in a message of the server that names nobody. */
	from?: string;
	session?: string;
	/** In the own inbox, on a copy of what the user sent: to whom. */
	to?: string;
	/** When it was stored, in Unix milliseconds. */
	time: number;
	data: T;
}

/** A message from `history`. */
export type PastMessage<T = any> = Omit<Message<T>, "epoch">;

export interface History<T = any> {
	topic: string;
	/** Oldest first. */
	messages: PastMessage<T>[];
	/** There are older ones: ask again with `before` the first one's offset. */
	more?: boolean;
}

export interface Members {
	topic: string;
	version: number;
	online: number;
	members: string[];
	more?: boolean;
	/** The cursor of the next page. */
	next?: string;
	/** How far each of them has read, where that was asked for: user -> offset. */
	reads?: Record<string, number>;
}

export interface Roster {
	online: number;
	/** Sorted. */
	members: string[];
	/** The topic is so large that only some names are known. */
	more: boolean;
}

/** A message that is not stored, such as "is typing". */
export interface Signal<T = any> {
	type: "signal";
	topic: string;
	from?: string;
	session?: string;
	data: T;
}

/** Users came and went. `roster()` knows it already. */
export interface Presence {
	type: "presence";
	topic: string;
	version: number;
	online: number;
	/** In large topics it may be that nobody is named here or in `left`, and that only `online` tells. */
	joined: string[];
	left: string[];
	/** The roster anew, where too many came and went for all to be told of each. */
	members?: string[];
	more?: boolean;
	next?: string;
}

/** A user has read up to `offset`. */
export interface Read {
	type: "read";
	topic: string;
	from: string;
	offset: number;
}

/** A message that this session does not get: its own with `echo: false`, or a removed one. */
export interface Skip extends Position {
	type: "skip";
	topic: string;
}

/** The log could not be followed: unless `recovered`, messages are missing before the next one. */
export interface Reset extends Position {
	type: "reset";
	topic: string;
	after: number;
	reason: "trimmed" | "epoch";
	recovered: boolean;
}

/** A connection stands, and each of its topics goes on where it was. */
export interface Connected {
	type: "connected";
	session: string;
	user: string;
	node: string;
	/** False for the first connection of this client. */
	resumed: boolean;
	/**
	 * The node's answer for each topic that the client is in. Where `recovered` is false,
	 * messages were missed, and a reset follows; else offset - after messages are catching up.
	 */
	topics: Record<string, Joined | { error: { code: string; message: string; retry?: boolean } }>;
}

/** A connection was lost, or a try to make one failed, or all is over. */
export interface Disconnected {
	type: "disconnected";
	/** The close code: RFC 6455 and wire/codes.go. */
	code: number;
	reason: string;
	/** null after `close()`. */
	error: Error | null;
	/** False: this was the last event. */
	reconnect: boolean;
	/** Milliseconds until the next try; null when an iterator is full, and when there is none. */
	delay: number | null;
}

/** The server let the session into a topic without being asked by it. */
export interface JoinedEvent extends Joined {
	type: "joined";
}

/** The session is not in a topic any more, though the program did not leave it. */
export interface Left {
	type: "left";
	topic: string;
	error: RookeryError;
}

/** The node complains about something that no call waits for. */
export interface Complaint {
	type: "error";
	error: RookeryError;
}

export interface EventMap {
	message: Message;
	signal: Signal;
	presence: Presence;
	read: Read;
	skip: Skip;
	reset: Reset;
	connected: Connected;
	disconnected: Disconnected;
	joined: JoinedEvent;
	left: Left;
	error: Complaint;
}

export type RookeryEvent = EventMap[keyof EventMap];

export class RookeryError extends Error {
	constructor(error: { code: string; message?: string; topic?: string; retry?: boolean });
	/**
	 * The node's error codes: bad_request, unauthorized, forbidden, not_found, too_large,
	 * rate_limited, unavailable, internal. Our own: `unknown`, a publish was sent, but whether it
	 * is stored could not be found out; `left`, the topic was left before the join was
	 * answered; `disconnected`; `closed`.
	 */
	readonly code: string;
	/** "" when it concerns none. */
	readonly topic: string;
	/** The same may succeed later. */
	readonly retry: boolean;
}

export type Listener<E> = ((this: Client, event: E) => void) | { handleEvent(event: E): void } | null;
export type ListenOptions = boolean | { capture?: boolean; once?: boolean; passive?: boolean; signal?: AbortSignal };

/**
 * Returns a client of the cluster at `url` (ws://, wss://, http:// or https://, or relative to
 * the page), which begins to connect. It throws a TypeError for bad arguments.
 */
export function connect(url: string | URL, options: Options): Client;

/**
 * One session after another with a cluster. Calls wait for a connection when there is none,
 * and are repeated when it is lost before the reply came. They reject with a RookeryError.
 */
export class Client extends EventTarget {
	constructor(url: string | URL, options: Options);

	/** Whether a connection stands. */
	readonly connected: boolean;
	/** The newest session's id; "" before the first, like the next two. */
	readonly session: string;
	readonly user: string;
	/** The node that holds the session. */
	readonly node: string;
	/** The largest frame in bytes that the newest node takes: 16,384, which all take, before the first. */
	readonly maxFrame: number;

	/** Enters a room, and stays in it over all connections until `leave`. */
	join(topic: string, options?: JoinOptions): Promise<Joined>;
	leave(topic: string): Promise<void>;
	/**
	 * Stores a message in a room that was joined, or in a user's inbox (`@alice`). It is stored
	 * once, however often it had to be sent: `key` (made up when missing) tells nodes that it
	 * is the same. With `echo: false` this session does not get it back.
	 */
	publish(topic: string, data: unknown, options?: { key?: string; echo?: boolean }): Promise<Published>;
	/** Sends what is not stored. Returns false, and sends nothing, while there is no connection. */
	signal(topic: string, data: unknown): boolean;
	/** Older messages of a topic that was joined: those before an offset, or the newest. */
	history<T = any>(topic: string, options?: { before?: number; limit?: number }): Promise<History<T>>;
	/** Tells that the user has read up to `offset`. */
	read(topic: string, offset: number): Promise<void>;
	/** One page of who is in a topic; with `reads`, and how far they have read (rooms only). */
	members(topic: string, options?: { cursor?: string; reads?: boolean }): Promise<Members>;
	/** Who is in a topic that was joined with `presence`, as of the newest event; else null. */
	roster(topic: string): Roster | null;
	/**
	 * For each topic, the position of the last message that was given to the listeners. Programs
	 * that iterate keep the epoch and offset of the last message they are done with.
	 */
	cursors(): Record<string, Position>;
	/**
	 * Events, from now on, until the client is closed; it throws when the node ended the
	 * connection for good. Has to be read to its end or left by `break`: while one iterator
	 * holds 10,000 events unread, the client stays away, and goes on later where it was.
	 */
	events(): AsyncIterableIterator<RookeryEvent>;
	/** Like `events`, but the messages of one topic only. */
	messages<T = any>(topic: string): AsyncIterableIterator<Message<T>>;
	/** Ends all: calls that wait are rejected with the code `closed`. */
	close(): void;

	addEventListener<K extends keyof EventMap>(
		type: K,
		listener: Listener<CustomEvent<EventMap[K]>>,
		options?: ListenOptions,
	): void;
	removeEventListener<K extends keyof EventMap>(
		type: K,
		listener: Listener<CustomEvent<EventMap[K]>>,
		options?: boolean | { capture?: boolean },
	): void;
	addEventListener(type: string, listener: Listener<Event>, options?: ListenOptions): void;
	removeEventListener(type: string, listener: Listener<Event>, options?: boolean | { capture?: boolean }): void;
}
