package jail

import "os"

type pipe struct{ r, w *os.File }

// pipes connect the parent with the stage: the order goes down, the report
// comes up.
type pipes struct{ order, report pipe }

func openPipes() (*pipes, error) {
	var p pipes
	var err error
	if p.order.r, p.order.w, err = os.Pipe(); err != nil {
		return nil, err
	}
	if p.report.r, p.report.w, err = os.Pipe(); err != nil {
		p.close()
		return nil, err
	}
	return &p, nil
}

// closeTheirs closes the stage's ends in the parent: otherwise the report
// would never end.
func (p *pipes) closeTheirs() { closeAll([]*os.File{p.order.r, p.report.w}) }

func (p *pipes) close() {
	closeAll([]*os.File{p.order.r, p.order.w, p.report.r, p.report.w})
}

// closeAll tolerates nil and closed files.
func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
