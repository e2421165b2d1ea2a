package auth

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/MicahParks/jwkset"
	"golang.org/x/time/rate"
)

// fetchTime bounds how long a token that names an unknown key waits for the key set.
const fetchTime = 5 * time.Second

// A keySet is kept fresh. Tokens that name unknown keys make it ask again, but once a minute at most: anybody
// can send such tokens. So that a key is not there is known only when the set has just been asked, and has answered.
type keySet struct {
	jwkset.Storage // Fixed at construction.
}

// fetchSet keeps the key set of an address until ctx is done.
func fetchSet(ctx context.Context, address string) (keySet, error) {
	remote, err := jwkset.NewStorageFromHTTP(address, jwkset.HTTPClientStorageOptions{
		Ctx:             ctx,
		Client:          &http.Client{Timeout: 10 * time.Second},
		RefreshInterval: time.Hour,
		RefreshErrorHandler: func(ctx context.Context, err error) {
			slog.Warn("key set not refreshed; going on with the keys that are known", "url", address, "err", err)
			if failed, ok := ctx.Value(reading{}).(*error); ok {
				*failed = err
			}
		},
	})
	if err != nil {
		return keySet{}, err
	}
	storage, err := jwkset.NewHTTPClient(jwkset.HTTPClientOptions{
		HTTPURLs:          map[string]jwkset.Storage{address: remote},
		RateLimitWaitMax:  fetchTime, // of the fetch too; who would have to wait longer for their turn does not wait at all
		RefreshUnknownKID: rate.NewLimiter(rate.Every(time.Minute), 1),
	})
	return keySet{storage}, err
}

// reading is the key, in a context, of where a refresh that a KeyRead asked for leaves its error.
type reading struct{}

// KeyRead returns ErrUnavailable where it cannot know whether there is such a key.
func (s keySet) KeyRead(ctx context.Context, id string) (jwkset.JWK, error) {
	var failed error
	key, err := s.Storage.KeyRead(context.WithValue(ctx, reading{}, &failed), id)
	if err != nil && (failed != nil || !errors.Is(err, jwkset.ErrKeyNotFound)) {
		return key, ErrUnavailable
	}
	return key, err
}
