package xbee

import "fmt"

// ATCommand reads a setting of the radio, or writes it if there is a Value [0x08].
type ATCommand struct {
	ID    byte    // of the ATResponse that is to answer; 0 for no answer
	Name  [2]byte // such as {'N', 'P'}
	Value []byte
}

// Append implements Frame.
func (f ATCommand) Append(b []byte) []byte {
	b = append(b, byte(TypeATCommand), f.ID, f.Name[0], f.Name[1])
	return append(b, f.Value...)
}

func readATCommand(r *reader) *ATCommand {
	return &ATCommand{ID: r.octet("frame id"), Name: r.name(), Value: r.rest()}
}

// The Status of an ATResponse.
const (
	ATOK               byte = 0
	ATError            byte = 1
	ATInvalidCommand   byte = 2
	ATInvalidParameter byte = 3
	ATNotSent          byte = 4 // to a remote radio, by the radio that was asked
)

// ATResponse answers an ATCommand [0x88].
type ATResponse struct {
	ID     byte
	Name   [2]byte
	Status byte
	Value  []byte // what was read; nothing if it was written
}

// Append implements Frame.
func (f ATResponse) Append(b []byte) []byte {
	b = append(b, byte(TypeATResponse), f.ID, f.Name[0], f.Name[1], f.Status)
	return append(b, f.Value...)
}

// Err is nil if the radio has done what it was asked to, and says why not otherwise.
func (f ATResponse) Err() error {
	var why string
	switch f.Status {
	case ATOK:
		return nil
	case ATError:
		why = "refused"
	case ATInvalidCommand:
		why = "not a command of this radio"
	case ATInvalidParameter:
		why = "not a value that this radio takes"
	case ATNotSent:
		why = "could not be sent to the remote radio"
	default:
		why = fmt.Sprintf("status 0x%02X", f.Status)
	}
	return fmt.Errorf("xbee: AT command %q: %s", f.Name[:], why)
}

func readATResponse(r *reader) *ATResponse {
	return &ATResponse{
		ID:     r.octet("frame id"),
		Name:   r.name(),
		Status: r.octet("status"),
		Value:  r.rest(),
	}
}

// ModemStatus says what has happened to the radio itself [0x8A].
type ModemStatus struct {
	Status byte
}

// Append implements Frame.
func (f ModemStatus) Append(b []byte) []byte { return append(b, byte(TypeModemStatus), f.Status) }

// String is the meaning of the status, such as "joined a network".
func (f ModemStatus) String() string {
	if f.Status >= 0x80 {
		return fmt.Sprintf("stack error 0x%02X", f.Status)
	}
	if s, ok := modemStatuses[f.Status]; ok {
		return s
	}
	return fmt.Sprintf("modem status 0x%02X", f.Status)
}

var modemStatuses = map[byte]string{
	0x00: "hardware reset or power on",
	0x01: "watchdog reset",
	0x02: "joined a network",
	0x03: "left the network",
	0x06: "coordinator started",
	0x07: "network key updated",
	0x0B: "network woke up",
	0x0C: "network went to sleep",
	0x0D: "supply voltage too high",
	0x11: "configuration changed while joining",
	0x3E: "coordinator found another network with its PAN ID",
	0x3F: "coordinator changed its PAN ID",
	0x40: "router changed its PAN ID",
	0x42: "network watchdog expired",
}

func readModemStatus(r *reader) *ModemStatus {
	return &ModemStatus{Status: r.octet("status")}
}
