package browsertest

import (
	"fmt"
	"strings"
	"time"

	"github.com/chromedp/chromedp"
)

// changed is what Chromium says of whatever it was loading when the machine's network changed. It
// drops that, also what came from loopback: and where containers and network namespaces come and go,
// as in other tests, it happens at any time.
const changed = "ERR_NETWORK_CHANGED"

// settled is said on the page's console when it is loaded: what went wrong before was heard before.
const settled = "browsertest: loaded"

// tries is how often a page is loaded until all of it came. They end soon, for networks rest sometimes.
const tries = 20

// Go loads a page.
func (p *Page) Go(url string) {
	p.tb.Helper()
	p.load(chromedp.Navigate(url))
}

// Reload loads the page again.
func (p *Page) Reload() {
	p.tb.Helper()
	p.load(chromedp.Reload())
}

func (p *Page) load(action chromedp.Action[chromedp.Void]) {
	p.tb.Helper()
	for range tries {
		p.dropped.Store(false)
		err := chromedp.Do(p.ctx, action)
		switch {
		case err == nil && p.whole():
			return
		case err != nil && !strings.Contains(err.Error(), changed):
			p.tb.Fatalf("%v", err)
		}
		p.tb.Log("the machine's network changed: the page is loaded again")
	}
	p.tb.Fatal("the machine's network does not rest")
}

// whole reports whether nothing was dropped while the page was loaded.
func (p *Page) whole() bool {
	p.tb.Helper()
	p.Run(chromedp.Evaluate[chromedp.Void](fmt.Sprintf("console.debug(%q)", settled)))
	select {
	case <-p.settled:
		return !p.dropped.Load()
	case <-time.After(patience):
		p.tb.Fatal("the page's console cannot be heard")
		return false
	}
}
