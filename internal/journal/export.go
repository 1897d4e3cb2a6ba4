package journal

import (
	"encoding/json"
	"io"
)

type exportLine struct {
	Seq      int64  `json:"seq"`
	Epoch    int64  `json:"epoch"`
	At       string `json:"at"`
	Token    string `json:"token"`
	Rotation string `json:"rotation,omitempty"`
	Kind     string `json:"kind"`
	Prev     string `json:"prev"`
	Hash     string `json:"hash"`
}

// writeLine puts the body in as it is stored: an encoder might format it.
func writeLine(w io.Writer, r row) error {
	line, err := json.Marshal(exportLine{
		Seq: r.seq, Epoch: r.epoch, At: r.at, Token: r.token, Rotation: r.rotation, Kind: r.kind,
		Prev: hexHash(r.prev), Hash: hexHash(r.hash),
	})
	if err != nil {
		return err
	}
	line = append(line[:len(line)-1], `,"body":`...)
	line = append(append(line, r.body...), "}\n"...)
	_, err = w.Write(line)
	return err
}
