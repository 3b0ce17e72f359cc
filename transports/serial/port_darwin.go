package serial

// exclusive: the system does not tell, except by refusing.
func (l lock) exclusive() bool { return false }

// lowLatency: there is no such setting.
func (l lock) lowLatency(string) error { return nil }
