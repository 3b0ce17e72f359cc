package upstream

import (
	"fmt"
	"time"

	"mqttsn-gateway/gateway/store"
)

// restore reads what an earlier process has left in the store. It is called by New.
func (b *Broker) restore() error {
	for _, space := range []struct {
		space store.Space
		what  string
		read  func(store.Key, []byte) error
	}{
		{store.UpstreamSession, "session", b.restoreSession},
		{store.UpstreamRequest, "spooled message", b.restoreRequest},
		{store.UpstreamDelivery, "kept message", b.restoreDelivery},
		{store.UpstreamUnreleased, "packet identifier", b.restoreUnreleased},
		{store.UpstreamDeadLetter, "dead letter", b.restoreDeadLetter},
	} {
		err := b.store.All(space.space, func(k store.Key, value []byte) error {
			if err := space.read(k, value); err != nil {
				return fmt.Errorf("%s %d of client %q: %w", space.what, k.Number, k.Client, err)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("what is stored of the way to the broker cannot be read: %w", err)
		}
	}
	b.deadLetters.sort()
	now := time.Now()
	for _, sp := range b.spools {
		for i := range sp.queue[:min(len(sp.queue), spoolWindow)] {
			sp.queue[i] |= entryAgain // it may have been sent
		}
		for i := range sp.deliveries.kept[:min(len(sp.deliveries.kept), b.options.ReceiveMaximum)] {
			sp.deliveries.kept[i].begun = true
		}
		if sp.waiting() > 0 {
			sp.due = now.Add(drainPause)
			b.undrained[sp] = struct{}{}
		} else if sp.ended.IsZero() {
			sp.ended = now // as far as anybody knows
		}
	}
	b.numbers.last = max(b.numbers.last, b.numbers.limit)
	return nil
}

func (b *Broker) restored(client string) *spool {
	if sp := b.spools[client]; sp != nil {
		return sp
	}
	return b.newSpool(client)
}

func (b *Broker) restoreSession(k store.Key, value []byte) (err error) {
	if k.Client == "" {
		b.numbers.limit, err = readCount(value)
		return err
	}
	sp := b.restored(k.Client)
	if k.Number == 0 {
		sp.knowledge, err = readKnowledge(value)
		return err
	}
	name, qos, err := readFilter(value)
	sp.filters[name] = filter{qos, k.Number}
	sp.slot = max(sp.slot, k.Number)
	return err
}

func (b *Broker) restoreRequest(k store.Key, value []byte) error {
	m, err := readSpooled(value)
	sp := b.restored(k.Client)
	e := entry(k.Number)
	if m.released {
		e |= entryReleased
	}
	if !m.at.IsZero() && (sp.oldest.IsZero() || m.at.Before(sp.oldest)) {
		sp.oldest = m.at
	}
	sp.push(e)
	sp.count++
	sp.last = max(sp.last, k.Number)
	sp.drainTo = sp.last
	b.counts.spooledNow.Add(1)
	b.counts.octetsNow.Add(int64(len(value)))
	return err
}

func (b *Broker) restoreDelivery(k store.Key, value []byte) error {
	m, err := readKept(value)
	if err != nil {
		return err
	}
	b.restored(k.Client).deliveries.keep(kept{number: k.Number, octets: size(m)})
	b.numbers.last = max(b.numbers.last, k.Number)
	return nil
}

func (b *Broker) restoreUnreleased(k store.Key, _ []byte) error {
	d := b.restored(k.Client).deliveries
	d.unreleased = append(d.unreleased, uint16(k.Number))
	return nil
}

func (b *Broker) restoreDeadLetter(k store.Key, _ []byte) error {
	b.deadLetters.keys = append(b.deadLetters.keys, k)
	return nil
}
