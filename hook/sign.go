package hook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// secretPrefix begins a secret that is written in base64, as the libraries of Standard
// Webhooks take it.
const secretPrefix = "whsec_"

// minSecret is the least length of a secret, in bytes.
const minSecret = 24

// parseSecret returns the bytes that sign: those behind whsec_ in base64, or the text itself.
func parseSecret(s string) ([]byte, error) {
	key := []byte(s)
	if text, is := strings.CutPrefix(s, secretPrefix); is {
		var err error
		if key, err = base64.StdEncoding.DecodeString(text); err != nil {
			return nil, errors.New("what follows whsec_ is not base64")
		}
	}
	if len(key) < minSecret {
		return nil, fmt.Errorf("%d bytes are easily guessed: want at least %d", len(key), minSecret)
	}
	return key, nil
}

// sign returns the values of the headers webhook-timestamp and webhook-signature.
func (h *Hook) sign(id string, at time.Time, body []byte) (timestamp, signature string) {
	timestamp = strconv.FormatInt(at.Unix(), 10)
	signatures := make([]string, len(h.secrets))
	for i, key := range h.secrets {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + timestamp + "."))
		mac.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return timestamp, strings.Join(signatures, " ")
}
