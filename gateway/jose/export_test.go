package jose

// Len is how many trees are remembered.
func (t *Trees) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.known)
}
