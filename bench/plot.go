package bench

import (
	"bytes"
	"fmt"
	"io"
)

// A Plot is a few figures, each of something named: bars from zero.
type Plot struct {
	Title string
	Names []string
	Bars  []float64
}

// WriteSVG draws the plot.
func (p *Plot) WriteSVG(w io.Writer) error {
	const width, height, left, top, bar = 480, 180, 60, 40, 48
	highest := 0.0
	for _, v := range p.Bars {
		highest = max(highest, v)
	}
	highest = niceAbove(highest)
	y := func(v float64) float64 { return top + height*(1-v/highest) }

	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", left+width+20, top+height+30)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><text x="%d" y="22" font-size="15">%s</text>`+"\n", left, p.Title)
	for i := range 5 {
		v := highest * float64(i) / 4
		fmt.Fprintf(&b, `<path d="M%d %.1fh%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%g</text>`+"\n", left, y(v), width, left-8, y(v)+4, v)
	}
	for i, v := range p.Bars {
		middle := left + (float64(i)+0.5)*width/float64(len(p.Bars))
		fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="%d" height="%.1f" fill="#1f6feb"/><text x="%.1f" y="%.1f" text-anchor="middle">%g</text><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			middle-bar/2, y(v), bar, y(0)-y(v), middle, y(v)-5, round(v), middle, top+height+18, p.Names[i])
	}
	b.WriteString("</svg>\n")
	_, err := w.Write(b.Bytes())
	return err
}
