package task

// queue takes turns between owners; the tasks of one keep their order.
type queue struct {
	owners []string // with tasks that wait, in the order of their turns
	tasks  map[string][]*entry
}

func (q *queue) push(e *entry) {
	if q.tasks == nil {
		q.tasks = map[string][]*entry{}
	}
	owner := e.rec.Owner
	if len(q.tasks[owner]) == 0 {
		q.owners = append(q.owners, owner)
	}
	q.tasks[owner] = append(q.tasks[owner], e)
}

// pop returns nil where nothing waits.
func (q *queue) pop() *entry {
	if len(q.owners) == 0 {
		return nil
	}
	owner := q.owners[0]
	q.owners = q.owners[1:]
	e := q.tasks[owner][0]
	q.tasks[owner] = q.tasks[owner][1:]
	if len(q.tasks[owner]) > 0 {
		q.owners = append(q.owners, owner)
	} else {
		delete(q.tasks, owner)
	}
	return e
}

// remove takes out a task that waits.
func (q *queue) remove(e *entry) {
	owner := e.rec.Owner
	for i, one := range q.tasks[owner] {
		if one == e {
			q.tasks[owner] = append(q.tasks[owner][:i:i], q.tasks[owner][i+1:]...)
			break
		}
	}
	if len(q.tasks[owner]) > 0 {
		return
	}
	delete(q.tasks, owner)
	for i, o := range q.owners {
		if o == owner {
			q.owners = append(q.owners[:i:i], q.owners[i+1:]...)
			return
		}
	}
}
