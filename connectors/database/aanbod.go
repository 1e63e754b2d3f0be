package database

import "github.com/grensloos/grensloos/gateway"

// Aanbod is what a mapping maps, for who need not open its database.
func Aanbod(mapping string) (gateway.Velden, error) {
	m, err := loadMapping(mapping)
	if err != nil {
		return nil, err
	}
	return (&Source{m: m}).Diensten(), nil
}
