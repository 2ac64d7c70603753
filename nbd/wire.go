package nbd

import "encoding/binary"

// The layout of everything on the wire; all integers are big-endian.
//
//	greeting (server)      NBDMAGIC u64, IHAVEOPT u64, flags u16       proto: Fixed newstyle negotiation
//	client flags           flags u32
//	option (client)        IHAVEOPT u64, option u32, length u32, data
//	option reply (server)  magic u64, option u32, type u32, length u32, data
//	EXPORT_NAME answer     size u64, flags u16, [124 zeroes]           proto: Option types
//	request (client)       magic u32, flags u16, type u16,             proto: Request message
//	                       cookie u64, offset u64, length u32, [data]
//	simple reply           magic u32, error u32, cookie u64, [data]    proto: Simple reply message
//	chunk                  magic u32, flags u16, type u16,             proto: Structured reply chunk message
//	                       cookie u64, length u32, payload
//
//	payload of OFFSET_DATA   offset u64, data
//	payload of OFFSET_HOLE   offset u64, length u32
//	payload of BLOCK_STATUS  context u32, then {length u32, flags u32}…
//	payload of ERROR         error u32, message length u16, message
//	payload of ERROR_OFFSET  as ERROR, then offset u64
const (
	magicGreeting    = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption      = 0x49484156454f5054 // "IHAVEOPT"
	magicOptionReply = 0x0003e889045565a9
	magicRequest     = 0x25609513
	magicSimple      = 0x67446698
	magicChunk       = 0x668e33ef

	greetingSize     = 18
	optionHeaderSize = 16
	optionReplySize  = 20
	requestSize      = 28
	simpleSize       = 16
	chunkSize        = 20
	dataChunkSize    = chunkSize + 8 // with the offset before the data
)

// Handshake flags; proto: Handshake flags, Client flags. The same two bits
// both ways.
const (
	flagFixedNewstyle = 1 << 0
	flagNoZeroes      = 1 << 1
)

// Options; proto: Option types.
const (
	optExportName      = 1
	optAbort           = 2
	optList            = 3
	optStartTLS        = 5
	optInfo            = 6
	optGo              = 7
	optStructuredReply = 8
	optListMeta        = 9
	optSetMeta         = 10
)

// Option reply types; proto: Option reply types.
const (
	repAck         = 1
	repServer      = 2
	repInfo        = 3
	repMetaContext = 4

	repErrBit     = 1 << 31
	repErrUnsup   = repErrBit | 1
	repErrPolicy  = repErrBit | 2
	repErrInvalid = repErrBit | 3
	repErrTLSReqd = repErrBit | 5
	repErrUnknown = repErrBit | 6
	repErrTooBig  = repErrBit | 9
)

// Information in answers to INFO and GO.
const (
	infoExport      = 0
	infoName        = 1
	infoDescription = 2
	infoBlockSize   = 3
)

// Transmission flags; proto: Transmission flags.
const (
	flagHasFlags     = 1 << 0
	flagReadOnly     = 1 << 1
	flagFlush        = 1 << 2
	flagFUA          = 1 << 3
	flagTrim         = 1 << 5
	flagWriteZeroes  = 1 << 6
	flagDF           = 1 << 7
	flagCanMultiConn = 1 << 8
	flagCache        = 1 << 10
	flagFastZero     = 1 << 11
)

// Request types; proto: Request types.
const (
	cmdRead        = 0
	cmdWrite       = 1
	cmdDisc        = 2
	cmdFlush       = 3
	cmdTrim        = 4
	cmdCache       = 5
	cmdWriteZeroes = 6
	cmdBlockStatus = 7
)

// Command flags; proto: Command flags.
const (
	cmdFlagFUA      = 1 << 0
	cmdFlagNoHole   = 1 << 1
	cmdFlagDF       = 1 << 2
	cmdFlagReqOne   = 1 << 3
	cmdFlagFastZero = 1 << 4
)

// Chunks of structured replies; proto: Structured reply types.
const (
	chunkFlagDone = 1 << 0

	chunkNone        = 0
	chunkOffsetData  = 1
	chunkOffsetHole  = 2
	chunkBlockStatus = 5
	chunkErrorBit    = 1 << 15
	chunkError       = chunkErrorBit | 1
	chunkErrorOffset = chunkErrorBit | 2
)

// States of base:allocation; proto: "base:allocation" metadata context.
const (
	stateHole = 1 << 0
	stateZero = 1 << 1
)

// Sizes that the protocol gives, or that we promise in INFO_BLOCK_SIZE.
const (
	minBlock       = 1
	preferredBlock = 4096
	// maxPayload is the most that one READ or WRITE may carry, in bytes.
	maxPayload = 32 << 20
	// maxString bounds names, descriptions and messages; proto: Values.
	maxString = 4096
	// exportNamePadding follows the answer to EXPORT_NAME without NO_ZEROES.
	exportNamePadding = 124
)

var be = binary.BigEndian

// request is the header of one request.
type request struct {
	flags  uint16
	kind   uint16
	cookie uint64
	offset uint64
	length uint32
}

// parseRequest reads a header of requestSize bytes; false means that the
// magic is wrong, after which nothing on the connection can be trusted.
func parseRequest(b []byte) (request, bool) {
	_ = b[requestSize-1]
	return request{
		flags:  be.Uint16(b[4:]),
		kind:   be.Uint16(b[6:]),
		cookie: be.Uint64(b[8:]),
		offset: be.Uint64(b[16:]),
		length: be.Uint32(b[24:]),
	}, be.Uint32(b) == magicRequest
}

func putRequest(b []byte, r request) {
	_ = b[requestSize-1]
	be.PutUint32(b, magicRequest)
	be.PutUint16(b[4:], r.flags)
	be.PutUint16(b[6:], r.kind)
	be.PutUint64(b[8:], r.cookie)
	be.PutUint64(b[16:], r.offset)
	be.PutUint32(b[24:], r.length)
}

func putSimple(b []byte, cookie uint64, errno uint32) {
	_ = b[simpleSize-1]
	be.PutUint32(b, magicSimple)
	be.PutUint32(b[4:], errno)
	be.PutUint64(b[8:], cookie)
}

func putChunk(b []byte, flags, kind uint16, cookie uint64, length uint32) {
	_ = b[chunkSize-1]
	be.PutUint32(b, magicChunk)
	be.PutUint16(b[4:], flags)
	be.PutUint16(b[6:], kind)
	be.PutUint64(b[8:], cookie)
	be.PutUint32(b[16:], length)
}

func putOptionReply(b []byte, option, kind, length uint32) {
	_ = b[optionReplySize-1]
	be.PutUint64(b, magicOptionReply)
	be.PutUint32(b[8:], option)
	be.PutUint32(b[12:], kind)
	be.PutUint32(b[16:], length)
}
