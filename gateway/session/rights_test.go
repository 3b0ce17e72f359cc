package session

import (
	"fmt"
	"slices"
	"strings"
)

// listed are rights to what is listed, by the names publish, receive and subscribe.
type listed map[string][]string

func (l listed) MayPublish(topic string) bool    { return slices.Contains(l["publish"], topic) }
func (l listed) MayReceive(topic string) bool    { return slices.Contains(l["receive"], topic) }
func (l listed) MaySubscribe(filter string) bool { return slices.Contains(l["subscribe"], filter) }

// parseRights reads rights in a scenario.
func parseRights(parts []string) (Rights, error) {
	w := newWords(parts)
	if w.flag("any") {
		return nil, nil
	}
	l := listed{}
	for key, topics := range w.kv {
		if key != "publish" && key != "receive" && key != "subscribe" {
			return nil, fmt.Errorf("%s: not a right", key)
		}
		l[key] = strings.Split(topics, ",")
	}
	return l, w.err
}
