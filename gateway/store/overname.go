package store

import (
	"context"
	"encoding/json"

	"github.com/grensloos/grensloos/gateway"
	"github.com/grensloos/grensloos/gateway/toestemming"
)

// NeemOver takes consents of another register into this one (herindeling), in one transaction: who gave what when stays as it is,
// under the pseudonym that the caller renumbered. What is there already takes over only what closed or confirmed it meanwhile: the
// first moment of a withdrawal or a confirmation counts, and none is ever undone. It returns the ids that were new or changed. Another
// consent under the same id is a Conflict, and then none is taken over.
func (s *Store) NeemOver(ctx context.Context, all []toestemming.Toestemming) (changedIDs []string, err error) {
	err = s.inTx(ctx, "toestemming", func(tx *tx) error {
		changedIDs = nil
		for _, t := range all {
			isNew, err := neemOver(ctx, tx, t)
			if err != nil {
				return err
			}
			if isNew {
				changedIDs = append(changedIDs, t.ID)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return changedIDs, nil
}

func neemOver(ctx context.Context, tx *tx, t toestemming.Toestemming) (adds bool, err error) {
	velden, err := json.Marshal(nonNil(t.Velden))
	if err != nil {
		return false, gateway.Wrap(gateway.Invalid, err, "toestemming: velden")
	}
	done, err := tx.ExecContext(ctx, `INSERT INTO toestemmingen (`+toestemmingColumns+`) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
		ON CONFLICT (id) DO NOTHING`,
		t.ID, string(t.Betrokkene), string(t.Soort), string(t.Doel), t.DoelVersie, string(t.Ontvanger), string(velden), t.GegevenDoor,
		string(t.GeregistreerdDoor), t.Tekstversie, t.Kanaal, unixMilli(t.Gegeven), unixMilli(t.GeldigTot), unixMilli(t.BevestigdOp),
		unixMilli(t.Ingetrokken))
	if isNew, err := changed(done, err); err != nil || isNew {
		return isNew, err
	}
	there, err := scanToestemming(tx.QueryRowContext(ctx, `SELECT `+toestemmingColumns+` FROM toestemmingen WHERE id = ?`, t.ID))
	if err != nil {
		return false, err
	}
	if !there.IsSame(t) {
		return false, gateway.Errorf(gateway.Conflict, "toestemming %s: this id belongs to another consent", t.ID)
	}
	merged := there.Merge(t)
	if unixMilli(merged.BevestigdOp) == unixMilli(there.BevestigdOp) && unixMilli(merged.Ingetrokken) == unixMilli(there.Ingetrokken) {
		return false, nil
	}
	_, err = tx.ExecContext(ctx, `UPDATE toestemmingen SET bevestigd_op = ?, ingetrokken = ? WHERE id = ?`,
		unixMilli(merged.BevestigdOp), unixMilli(merged.Ingetrokken), t.ID)
	return true, err
}
