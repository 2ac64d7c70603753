package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"goldstream/api/v1"
	"goldstream/blockstore"
)

// retiredNames are the names of retired volumes, and ids where several have the
// same name.
func retiredNames(c *call) []string {
	count := map[string]int{}
	return daemonNames(c, func(client *v1.Client, ctx context.Context) ([]blockstore.RetiredVolume, error) {
		retired, err := client.RetiredVolumes(ctx)
		for _, v := range retired {
			count[v.Name]++
		}
		return retired, err
	}, func(v blockstore.RetiredVolume) string {
		if count[v.Name] > 1 {
			return v.ID
		}
		return v.Name
	})
}

// parseKeep reads times such as 72h, 1h30m and 30d.
func parseKeep(s string) (time.Duration, error) {
	keep, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		keep = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || keep <= 0 {
		return 0, usagef("--keep %q is no time: write hours or days, such as 72h or 30d", s)
	}
	return keep, nil
}

func retireVolume(c *call) error {
	name, text := c.arg(0), c.String("keep")
	keep, err := parseKeep(text)
	if err != nil {
		return err
	}
	return c.with(false, func(client *v1.Client) error {
		if err := client.RetireVolume(c.ctx, name, keep, c.requestID()); err != nil {
			return err
		}
		return c.print(deleted{Name: name, Deleted: true, Keep: keep.String()}, func(w io.Writer) {
			fmt.Fprintf(w, "deleted volume %s; 'goldstream volume restore %s' brings it back within %s\n", name, name, text)
		})
	})
}

func listRetired(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		retired, err := client.RetiredVolumes(c.ctx)
		if err != nil {
			return err
		}
		return c.print(retired, func(w io.Writer) {
			fmt.Fprintln(w, "NAME\tID\tSIZE\tOWN DATA\tIMAGE\tSNAPSHOTS\tDELETED\tKEPT UNTIL")
			for _, v := range retired {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", v.Name, v.ID, humanSize(v.Size), humanSize(v.Allocated),
					orDash(v.Image), v.Snapshots, localTime(v.Retired), localTime(v.Until))
			}
		})
	})
}

func restoreVolume(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		info, err := client.RestoreVolume(c.ctx, c.arg(0), v1.RestoreRequest{As: c.String("as")}, c.requestID())
		if err != nil {
			return err
		}
		return c.printVolume(info)
	})
}

func purgeVolume(c *call) error {
	return c.with(false, func(client *v1.Client) error {
		if err := client.RemoveRetired(c.ctx, c.arg(0), c.requestID()); err != nil {
			return err
		}
		return c.printDeleted("retired volume", c.arg(0))
	})
}
