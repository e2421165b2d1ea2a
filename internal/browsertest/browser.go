// Package browsertest shows pages in a real, headless Chromium, for tests.
package browsertest

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// Generous, for busy machines: they are only reached when something is wrong.
const (
	lifetime = 5 * time.Minute  // of a browser
	patience = 45 * time.Second // for one expression to become true
)

// A Browser is one Chromium, until the test ends.
type Browser struct {
	// Fixed at construction.
	tb  testing.TB
	ctx context.Context
}

// Start starts a browser. It fails the test when chromium is missing.
func Start(tb testing.TB) *Browser {
	tb.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		tb.Fatalf("this test needs chromium (is the package chromium installed?): %v", err)
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-background-networking", true),
		chromedp.UserDataDir(tb.TempDir()),
		chromedp.WSURLReadTimeout(time.Minute),
	)
	ctx, cancel := context.WithTimeout(tb.Context(), lifetime)
	tb.Cleanup(cancel)
	ctx, cancelProcess := chromedp.NewExecAllocator(ctx, opts...)
	tb.Cleanup(cancelProcess)
	ctx, cancelBrowser := chromedp.NewContext(ctx)
	tb.Cleanup(cancelBrowser)
	if err := chromedp.Do(ctx); err != nil {
		tb.Fatalf("start chromium: %v", err)
	}
	return &Browser{tb: tb, ctx: ctx}
}

// A Page is one window.
type Page struct {
	// Fixed at construction.
	tb      testing.TB
	ctx     context.Context
	settled chan struct{} // capacity 1

	dropped atomic.Bool // since the newest load began

	mu   sync.Mutex
	said []string // errors and warnings of the console. Guarded by mu.
}

// Open shows url in a window that shares nothing with the others.
func (b *Browser) Open(url string) *Page {
	b.tb.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	p := &Page{tb: b.tb, ctx: ctx, settled: make(chan struct{}, 1)}
	var listening sync.WaitGroup
	console := chromedp.Console(ctx)
	listening.Go(func() {
		for m, err := range console {
			if err != nil {
				return // the window is closed
			}
			p.hear(m)
		}
	})
	b.tb.Cleanup(func() { cancel(); listening.Wait() })
	p.Go(url)
	return p
}

// hear keeps what went wrong: exceptions, errors of the page, and what the browser itself
// says of failed loads and violations of the policy.
func (p *Page) hear(m chromedp.ConsoleMessage) {
	switch text := m.String(); {
	case strings.Contains(text, changed):
		p.dropped.Store(true) // no fault of the page's
		return
	case m.Type == "debug" && strings.Contains(text, settled):
		p.settled <- struct{}{}
		return
	}
	if m.IsException() || m.Type == "error" || m.Type == "warning" || m.Type == "assert" {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.said = append(p.said, m.String())
	}
}

// Complaints returns the console's errors and warnings so far.
func (p *Page) Complaints() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.said)
}

// Run does what a user does in the window.
func (p *Page) Run(actions ...chromedp.Action[chromedp.Void]) {
	p.tb.Helper()
	if err := chromedp.Do(p.ctx, actions...); err != nil {
		p.tb.Fatalf("%v", err)
	}
}

// within does what waits for an element, and not for ever.
func (p *Page) within(selector string, action chromedp.Action[chromedp.Void]) {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, action); err != nil {
		text, _ := chromedp.Run(p.ctx, chromedp.Evaluate[string](`document.body.innerText`))
		p.tb.Fatalf("%s: %v\nthe page shows:\n%s\nthe console: %q", selector, err, text, p.Complaints())
	}
}

// Type types a text into the element that a CSS selector finds; "\r" is the Enter key.
func (p *Page) Type(selector, text string) {
	p.tb.Helper()
	p.within(selector, chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Press presses a key, with modifiers, in whatever has the focus. kb names those that are no characters.
func (p *Page) Press(key string, modifiers ...chromedp.Modifier) {
	p.tb.Helper()
	p.Run(chromedp.KeyEvent(key, chromedp.KeyModifiers(modifiers...)))
}

// Size makes the window so many pixels large; a phone's has touch.
func (p *Page) Size(width, height int64, phone bool) {
	p.tb.Helper()
	var options []chromedp.EmulateViewportOption
	if phone {
		options = append(options, chromedp.EmulateMobile, chromedp.EmulateTouch)
	}
	p.Run(chromedp.EmulateViewport(width, height, options...))
}

// Prefer sets what the user prefers: a media feature such as prefers-color-scheme, and its value.
func (p *Page) Prefer(feature, value string) {
	p.tb.Helper()
	params := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: feature, Value: value}}}
	if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, params); err != nil {
		p.tb.Fatalf("prefer %s: %v", feature, err)
	}
}

// Before runs a script in each page that the window loads from now on, before the page's own.
func (p *Page) Before(script string) {
	p.tb.Helper()
	params := cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: script}
	if _, err := chromedp.Call(p.ctx, cdppage.AddScriptToEvaluateOnNewDocument, params); err != nil {
		p.tb.Fatalf("before: %v", err)
	}
}

// Picture returns what the window shows, as a PNG.
func (p *Page) Picture() []byte {
	p.tb.Helper()
	picture, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.tb.Fatalf("picture: %v", err)
	}
	return picture
}

// Ask returns what a JavaScript expression, or the promise that it makes, is as text.
func (p *Page) Ask(expression string) string {
	p.tb.Helper()
	text, err := chromedp.Run(p.ctx, chromedp.Evaluate[string]("(async () => String(await ("+expression+")))()", chromedp.EvalAwaitPromise))
	if err != nil {
		p.tb.Fatalf("%v", err)
	}
	return text
}

// Do runs a JavaScript expression, and waits for it when it is a promise.
func (p *Page) Do(expression string) {
	p.tb.Helper()
	p.Run(chromedp.Evaluate[chromedp.Void]("(async () => { await ("+expression+") })()", chromedp.EvalAwaitPromise))
}

// Until waits until a JavaScript expression is true. One that throws is not: what it asks for may be there only
// later. (chromedp.Poll makes a function of its expression in the page, which a page's policy may forbid.)
func (p *Page) Until(expression string) {
	p.tb.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	var thrown *chromedp.ExceptionError
	for {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if ok {
			return
		}
		if err != nil && (!errors.As(err, &thrown) || ctx.Err() != nil) {
			if thrown != nil {
				err = fmt.Errorf("%w, at last after %w", err, thrown)
			}
			text, _ := chromedp.Run(p.ctx, chromedp.Evaluate[string](`document.body.innerText`))
			p.tb.Fatalf("waited for %s: %v\nthe page shows:\n%s\nthe console: %q", expression, err, text, p.Complaints())
		}
		time.Sleep(20 * time.Millisecond)
	}
}
