package browsertest

import (
	"fmt"
	"time"

	"github.com/chromedp/chromedp"
)

// Where an element is, is asked first, and then the mouse is pressed there. In between the page may have moved, say
// for a banner: a user aims anew. So a press that comes down beside the element is kept from the page.
const (
	aim = `(() => {
		window.browsertest?.end();
		const press = window.browsertest = new class extends AbortController { missed = false; end = this.abort };
		for (const type of ["pointerdown", "mousedown", "pointerup", "mouseup", "click"]) {
			addEventListener(type, (e) => {
				if (type === "pointerdown") press.missed = e.target.closest?.(%[1]q) !== document.querySelector(%[1]q);
				if (!press.missed) return;
				e.preventDefault();
				e.stopImmediatePropagation();
			}, { capture: true, signal: press.signal });
		}
	})()`
	ask = `(() => {
		window.browsertest?.end();
		return Boolean(window.browsertest?.missed);
	})()`
)

// Click clicks on the element that a CSS selector finds.
func (p *Page) Click(selector string) {
	p.tb.Helper()
	for give := time.Now().Add(patience); time.Now().Before(give); {
		p.within(selector, chromedp.WaitVisible(chromedp.CSS(selector)))
		p.Run(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(aim, selector)))
		p.within(selector, chromedp.Click(chromedp.CSS(selector)))
		missed, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool](ask))
		if !missed || err != nil { // an error, where the click led to another page
			return
		}
		p.tb.Logf("%s moved: it is clicked again", selector)
	}
	p.tb.Fatalf("%s cannot be hit: something is before it, or it never rests", selector)
}
