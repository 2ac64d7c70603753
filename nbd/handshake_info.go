package nbd

import (
	"context"
	"slices"
)

// cursor takes fields off an option's data.
type cursor struct {
	p   []byte
	bad bool // a field was cut
}

func (d *cursor) bytes(n uint32) []byte {
	if d.bad || uint64(n) > uint64(len(d.p)) {
		d.bad = true
		return nil
	}
	b := d.p[:n]
	d.p = d.p[n:]
	return b
}

func (d *cursor) uint32() uint32 {
	if b := d.bytes(4); b != nil {
		return be.Uint32(b)
	}
	return 0
}

func (d *cursor) uint16() uint16 {
	if b := d.bytes(2); b != nil {
		return be.Uint16(b)
	}
	return 0
}

// string takes a length of four bytes and as many bytes.
func (d *cursor) string() string { return string(d.bytes(d.uint32())) }

// complete reports whether all fields were there and nothing is left.
func (d *cursor) complete() bool { return !d.bad && len(d.p) == 0 }

// infoOption answers INFO and GO, which differ only in what comes after.
//
//	name length u32, name, count u16, {information type u16}…
//
// proto: NBD_OPT_INFO and NBD_OPT_GO.
func (c *conn) infoOption(ctx context.Context, out *optionReply, data []byte) error {
	d := cursor{p: data}
	name := d.string()
	wanted := make([]uint16, d.uint16())
	for i := range wanted {
		wanted[i] = d.uint16()
	}
	if !d.complete() {
		return invalid("the data's length does not fit the name and the list of information in it")
	}
	if err := c.open(ctx, name); err != nil {
		return err
	}
	c.settleContexts()
	c.addInfos(ctx, out, wanted)
	return nil
}

// addInfos adds what was wanted and is known; the rest is left out, as the
// protocol asks. EXPORT is always given.
func (c *conn) addInfos(ctx context.Context, out *optionReply, wanted []uint16) {
	p := be.AppendUint16(nil, infoExport)
	p = be.AppendUint64(p, uint64(c.size))
	out.add(repInfo, be.AppendUint16(p, c.transmissionFlags()))

	if slices.Contains(wanted, infoName) {
		out.add(repInfo, append(be.AppendUint16(nil, infoName), c.asked...))
	}
	if slices.Contains(wanted, infoDescription) {
		if text := c.description(ctx); text != "" {
			out.add(repInfo, append(be.AppendUint16(nil, infoDescription), text...))
		}
	}
	if slices.Contains(wanted, infoBlockSize) {
		p := be.AppendUint16(nil, infoBlockSize)
		p = be.AppendUint32(p, minBlock)
		p = be.AppendUint32(p, preferredBlock)
		out.add(repInfo, be.AppendUint32(p, maxPayload))
	}
	out.ack()
}

// exportNameOption answers the old way to start transmission, which can only
// succeed or close; proto: NBD_OPT_EXPORT_NAME.
func (c *conn) exportNameOption(ctx context.Context, data []byte) error {
	if c.tlsDue(optExportName) {
		return errTLSDue
	}
	if err := c.open(ctx, string(data)); err != nil {
		return err
	}
	c.settleContexts()
	p := be.AppendUint64(nil, uint64(c.size))
	p = be.AppendUint16(p, c.transmissionFlags())
	if !c.noZeroes {
		p = append(p, make([]byte, exportNamePadding)...)
	}
	_, err := c.nc.Write(p)
	return err
}
