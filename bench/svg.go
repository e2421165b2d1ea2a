package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
)

// The plot's area, in pixels.
const (
	plotWidth  = 720
	plotHeight = 320
	plotLeft   = 70
	plotTop    = 40
)

// WriteSVG draws the report's latencies: which share of them took no longer than how long. The
// shares come closer to 1 by a factor of ten each, so that the slowest are seen.
func (r *Report) WriteSVG(w io.Writer) error {
	h := r.Latency
	if h == nil || h.TotalCount() == 0 {
		return errors.New("this run has measured no latencies")
	}
	nines := math.Ceil(math.Log10(float64(max(h.TotalCount(), 10))))
	top := niceAbove(float64(h.Max()) / 1e3)
	x := func(nine float64) float64 { return plotLeft + nine/nines*plotWidth }
	y := func(ms float64) float64 { return plotTop + plotHeight*(1-ms/top) }

	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n",
		plotLeft+plotWidth+40, plotTop+plotHeight+50)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	fmt.Fprintf(&b, `<text x="%d" y="22" font-size="15">%s: %d latencies, in ms by percentile</text>`+"\n", plotLeft, r.Scenario, h.TotalCount())
	for i := range 5 {
		ms := top * float64(i) / 4
		fmt.Fprintf(&b, `<path d="M%d %.1fh%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%g</text>`+"\n", plotLeft, y(ms), plotWidth, plotLeft-8, y(ms)+4, ms)
	}
	for nine := 0.0; nine <= nines; nine++ {
		share := 100 * (1 - math.Pow(10, -nine))
		fmt.Fprintf(&b, `<path d="M%.1f %dv%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle">%.*f</text>`+"\n",
			x(nine), plotTop, plotHeight, x(nine), plotTop+plotHeight+20, int(max(nine-2, 0)), share)
	}
	b.WriteString(`<path fill="none" stroke="#1f6feb" stroke-width="2" d="M`)
	const points = 400
	for i := range points + 1 {
		nine := nines * float64(i) / points
		ms := float64(h.ValueAtQuantile(100*(1-math.Pow(10, -nine)))) / 1e3
		fmt.Fprintf(&b, "%.1f %.1f ", x(nine), y(min(ms, top)))
	}
	b.WriteString("\"/>\n</svg>\n")
	_, err := w.Write(b.Bytes())
	return err
}

// niceAbove is the least of 1, 2, 4 and 8 times a power of ten that is not below v.
func niceAbove(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(max(v, 0.001))))
	for _, n := range []float64{1, 2, 4, 8} {
		if n*power >= v {
			return n * power
		}
	}
	return 10 * power
}
