package main

import (
	"fmt"
	"io"

	"goldstream/api/v1"
	"goldstream/blockstore"
)

func acceptEpochVerb() verb {
	return verb{
		name: "accept-epoch", args: "NAME", usage: "let clients on that started before the volume's epoch",
		examples: []string{"goldstream volume accept-epoch web-1"},
		action:   acceptEpoch, complete: names{volumeNames},
	}
}

func acceptEpoch(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		info, err := client.AcceptEpoch(c.ctx, c.arg(0))
		if err != nil {
			return err
		}
		return c.print(info, func(w io.Writer) {
			fmt.Fprintf(w, "clients of older epochs of volume %s are let on, until after epoch %d\n", info.Name, info.Epoch)
		})
	})
}

// epochText says since when a volume has its epoch, and why.
func epochText(v blockstore.VolumeInfo) string {
	text := fmt.Sprint(v.Epoch)
	if v.EpochCause != "" {
		text += fmt.Sprintf(", since %s: %s", localTime(v.EpochSince), v.EpochCause)
	}
	if v.OldAccepted {
		text += "; clients of older ones are let on"
	}
	return text
}
