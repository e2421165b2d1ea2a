package api

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/rookery-chat/rookery/wire"
)

// LineOptions adjust a Line; nil is good.
type LineOptions struct {
	// Secret, if set, must stand in every line, as "secret".
	Secret string
	// Logger is told of trouble with the listener, and of lines that failed, at level debug: slog.Default by default.
	Logger *slog.Logger
}

// Limits of the push port.
const (
	maxLine      = 64 << 10         // bytes, without the end of the line
	maxConns     = 1000             // connections at a time: more are closed at once
	lineIdle     = 60 * time.Second // from one answer until the next whole line
	answerTime   = 5 * time.Second  // for the peer to take an answer
	pushedFrom   = "push"           // who its messages are from
	acceptWait   = 5 * time.Millisecond
	maxAccepting = time.Second
)

// A Line is the push port: one JSON object a line over TCP, for programs that have no
// HTTP at hand. Every line gets one answer, ok or fail, in order.
//
//	{"uid":"uid1","percent":"88%"}       published whole to @uid1: ok when the user is online
//	{"uid":"*","text":"hello"}           published whole to everyone: ok when stored
//	{"topic":"lobby","data":{"a":1}}     data published to a room: ok when stored
//	{"topic":"@uid1","data":{"a":1}}     data published to an inbox: ok when the user is online
//
// Lines end with LF or CRLF, and the last may end with the connection. A field "secret"
// is taken out of what is published.
type Line struct {
	// Fixed at construction.
	backend Backend
	secret  *[sha256.Size]byte // nil: none is asked for
	log     *slog.Logger

	conns sync.WaitGroup
	slots chan struct{} // one for each connection
}

// NewLine returns a push port that publishes to b.
func NewLine(b Backend, opts *LineOptions) *Line {
	if opts == nil {
		opts = &LineOptions{}
	}
	l := &Line{backend: b, log: opts.Logger, slots: make(chan struct{}, maxConns)}
	if l.log == nil {
		l.log = slog.Default()
	}
	if opts.Secret != "" {
		hash := sha256.Sum256([]byte(opts.Secret))
		l.secret = &hash
	}
	return l
}

// Serve serves ln until ctx is done, and closes it. A line that is being served then still
// gets its answer; Serve returns when all connections have ended. It returns nil when ctx
// is done, else what broke the listener.
func (l *Line) Serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer l.conns.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	defer ln.Close()

	full, wait := false, acceptWait
	for {
		conn, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // no file descriptors, perhaps
			l.log.Warn("push port: accept", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
			wait = min(2*wait, maxAccepting)
			continue
		}
		wait = acceptWait
		select {
		case l.slots <- struct{}{}:
			full = false
			l.conns.Go(func() {
				defer func() { <-l.slots }()
				l.converse(ctx, conn)
			})
		default:
			if !full {
				l.log.Warn("push port: too many connections", "limit", maxConns)
			}
			full = true
			conn.Close()
		}
	}
}

// converse answers the lines of one connection.
func (l *Line) converse(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	r := bufio.NewReader(conn)
	var buf []byte
	for {
		conn.SetReadDeadline(time.Now().Add(lineIdle))
		if ctx.Err() != nil { // the deadline may just have been moved past this
			return
		}
		line, whole, err := readLine(r, buf[:0])
		if err != nil && (err != io.EOF || len(line) == 0) {
			return
		}
		buf = line
		answer := "ok\n"
		failure := errTooLong
		if whole {
			failure = l.push(ctx, line)
		}
		if failure != nil {
			answer = "fail\n"
			l.log.Debug("push port: fail", "remote", conn.RemoteAddr(), "err", failure)
		}
		conn.SetWriteDeadline(time.Now().Add(answerTime))
		if _, wrong := io.WriteString(conn, answer); wrong != nil || err != nil {
			return
		}
	}
}

// readLine appends the next line to buf, without its end. Of a line that is too long it
// reads all and keeps the beginning; whole is false then. With io.EOF comes a last line
// that nothing ended.
func readLine(r *bufio.Reader, buf []byte) (line []byte, whole bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if len(buf) <= maxLine+len("\r\n") {
			buf = append(buf, part...)
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if n := len(buf); n > 0 && buf[n-1] == '\n' {
			buf = buf[:n-1]
		}
		if n := len(buf); n > 0 && buf[n-1] == '\r' {
			buf = buf[:n-1]
		}
		return buf, len(buf) <= maxLine, err
	}
}

var (
	errTooLong = errors.New("the line is too long")
	errSecret  = errors.New("the line has not the right secret")
	errOffline = errors.New("the user has no session")
)

// push publishes what a line says. nil is ok.
func (l *Line) push(ctx context.Context, line []byte) error {
	p, err := parsePush(line)
	if err != nil {
		return err
	}
	if l.secret != nil {
		hash := sha256.Sum256([]byte(p.secret))
		if subtle.ConstantTimeCompare(hash[:], l.secret[:]) == 0 {
			return errSecret
		}
	}
	// The end of the port must not cut off what is on its way.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTime)
	defer cancel()
	receipt, err := l.backend.Publish(ctx, p.topic, Message{Data: p.data, From: pushedFrom})
	if err == nil && wire.IsInbox(p.topic) && receipt.Reached == 0 {
		return errOffline
	}
	return err
}

// A push is what one line asks for.
type push struct {
	topic  string
	data   json.RawMessage
	secret string
}

// parsePush reads a line. Its errors say nothing of what stands in the line's fields.
func parsePush(line []byte) (p push, err error) {
	if line, err = wire.ParseData(line); err != nil {
		return p, err
	}
	all, err := fields(line)
	if err != nil {
		return p, err
	}
	whole := []byte{'{'} // without the secret
	values := make(map[string]json.RawMessage, len(all))
	for _, f := range all {
		values[f.name] = f.value
		if f.name == "secret" {
			continue
		}
		if len(whole) > 1 {
			whole = append(whole, ',')
		}
		whole = append(whole, f.text...)
	}
	whole = append(whole, '}')
	if secret, ok := values["secret"]; ok {
		if p.secret, err = text("secret", secret); err != nil {
			return p, err
		}
		delete(values, "secret")
	}
	if uid, ok := values["uid"]; ok {
		p.data = whole
		p.topic, err = target(uid)
		return p, err
	}
	topic, named := values["topic"]
	data, filled := values["data"]
	if !named || !filled || len(values) > 2 {
		return p, bad("a line has uid, and whatever is to be published, or topic and data and nothing else")
	}
	p.data = data
	name, err := text("topic", topic)
	if err == nil {
		p.topic, err = wire.ParseTopic(name)
	}
	return p, err
}

// target returns the topic that a uid stands for.
func target(uid json.RawMessage) (topic string, err error) {
	name, err := text("uid", uid)
	if err != nil || name == wire.Everyone {
		return wire.Everyone, err
	}
	user, err := wire.CheckUser(name)
	return wire.Inbox(user), err
}

// text returns a JSON string.
func text(name string, value json.RawMessage) (s string, err error) {
	if value[0] != '"' || json.Unmarshal(value, &s) != nil {
		return "", bad("%s must be a JSON string", name)
	}
	return s, nil
}
