package embedded

// filters are those that a client subscribes to, each once. The zero value is empty.
type filters struct {
	list   []string
	index  map[string]int32 // position in list; nil while the list is short
	bytes  int32            // what they count, see filterCost
	shared int32            // how many are of shared subscriptions
}

func (f *filters) len() int { return len(f.list) }

func (f *filters) find(filter string) (at int, ok bool) {
	if f.index != nil {
		at, ok := f.index[filter]
		return int(at), ok
	}
	for i := range f.list {
		if f.list[i] == filter {
			return i, true
		}
	}
	return 0, false
}

func (f *filters) has(filter string) bool {
	_, ok := f.find(filter)
	return ok
}

// add adds a filter that is not among them.
func (f *filters) add(filter string) {
	f.list = append(f.list, filter)
	f.account(filter, 1)
	if f.index != nil {
		f.index[filter] = int32(len(f.list) - 1)
	} else if len(f.list) > shortList {
		f.index = make(map[string]int32, len(f.list))
		for i, filter := range f.list {
			f.index[filter] = int32(i)
		}
	}
}

func (f *filters) account(filter string, n int32) {
	f.bytes += n * int32(filterCost(filter))
	if share, _ := splitShare(filter); share != "" {
		f.shared += n
	}
}

// remove takes a filter out, if it is among them. A list that has become much shorter is
// copied, so that it costs what it holds.
func (f *filters) remove(filter string) {
	at, ok := f.find(filter)
	if !ok {
		return
	}
	f.account(filter, -1)
	last := len(f.list) - 1
	f.list[at], f.list[last] = f.list[last], ""
	f.list = f.list[:last]
	if f.index != nil {
		delete(f.index, filter)
		if at < last {
			f.index[f.list[at]] = int32(at)
		}
	}
	if cap(f.list) > 4*shortList && len(f.list) < shortList {
		f.list, f.index = append([]string(nil), f.list...), nil
	}
}
