package verklaring

// Len is how many keys are remembered.
func (k *Keys) Len() int {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return len(k.known)
}

// ParseWith is Parse with keys that were seen before.
var ParseWith = parse
