package lossyfs

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Config says how a disk behaves. The zero value forgets everything that was not synced.
type Config struct {
	Keep   float64 // the probability with which each thing not synced is there after PowerOff
	Seed   uint64  // of the dice for Keep
	Strict bool    // an fsync of a file does not make its name durable

	// Before is called before each operation that changes or syncs something, with its name ("write",
	// "fsync", "fsyncdir", "create", "rename", "unlink", "mkdir", "rmdir", "link", "truncate"). An error
	// fails the operation: then it did nothing. It may call PowerOff.
	Before func(operation string) error
}

// Disk is what is written, in both states. It outlives its mounts.
type Disk struct {
	config Config
	server *fuse.Server // nil when it is not mounted

	mu   sync.Mutex
	off  bool
	dice *rand.Rand
	root *inode
	last uint64 // the last inode number given
	lost Lost

	journal []*change // of names, in order
}

// change is one step: a name given, taken away, or moved.
type change struct {
	subject *inode
	names   []name // those that are not durable yet
}

// name says what a place is a name of; nil: of nothing.
type name struct {
	at    place
	inode *inode
}

// Lost counts what PowerOff took, each time.
type Lost struct {
	Bytes   int // written and not synced
	Entries int // of directories: names made, moved or removed
}

// New makes an empty disk.
func New(c Config) *Disk {
	d := &Disk{config: c, dice: rand.New(rand.NewPCG(c.Seed, 0))}
	d.root = d.inode(syscall.S_IFDIR | 0o755)
	return d
}

// inode is a file or a directory. It has no name; directories have names for it.
type inode struct {
	number uint64
	mode   uint32
	owner  fuse.Owner
	mtime  time.Time

	data, saved []byte   // of a file: as programs see it, and on the platter
	dirty       []extent // where data was written since it was saved
	cut         int      // the shortest it was since then; saved is stale from there on

	names, savedNames   map[string]*inode // of a directory
	places, savedPlaces map[place]bool    // where its names are
}

// extent is a part of a file, from up to to.
type extent struct{ from, to int }

// place is a name in a directory.
type place struct {
	dir  *inode
	name string
}

func (d *Disk) inode(mode uint32) *inode {
	d.last++
	i := &inode{number: d.last, mode: mode, mtime: time.Now(), places: map[place]bool{}, savedPlaces: map[place]bool{}}
	if i.isDir() {
		i.names, i.savedNames = map[string]*inode{}, map[string]*inode{}
	}
	return i
}

func (i *inode) isDir() bool { return i.mode&syscall.S_IFMT == syscall.S_IFDIR }

// name makes a change of names, in the state that programs see.
func (d *Disk) name(subject *inode, names ...name) {
	d.journal = append(d.journal, &change{subject: subject, names: names})
	for _, n := range names {
		n.at.enter(n.inode)
	}
}

func (p place) enter(i *inode) {
	if old := p.dir.names[p.name]; old != nil {
		delete(old.places, p)
		delete(p.dir.names, p.name)
	}
	if i != nil {
		p.dir.names[p.name] = i
		i.places[p] = true
	}
	p.dir.mtime = time.Now()
}

// enterSaved does the same on the platter.
func (p place) enterSaved(i *inode) {
	if old := p.dir.savedNames[p.name]; old != nil {
		delete(old.savedPlaces, p)
		delete(p.dir.savedNames, p.name)
	}
	if i != nil {
		p.dir.savedNames[p.name] = i
		i.savedPlaces[p] = true
	}
}

func (i *inode) write(b []byte, offset int) {
	end := offset + len(b)
	if end > len(i.data) {
		i.data = append(i.data, make([]byte, end-len(i.data))...)
	}
	copy(i.data[offset:], b)
	if n := len(i.dirty); n > 0 && i.dirty[n-1].to == offset {
		i.dirty[n-1].to = end
	} else {
		i.dirty = append(i.dirty, extent{offset, end})
	}
	i.mtime = time.Now()
}

func (i *inode) truncate(size int) {
	if size < len(i.data) {
		i.data = i.data[:size]
		i.cut = min(i.cut, size)
	} else {
		i.data = append(i.data, make([]byte, size-len(i.data))...)
	}
	i.mtime = time.Now()
}

// save makes a file's bytes and size durable.
func (i *inode) save() {
	i.saved = resize(i.saved[:min(i.cut, len(i.saved))], len(i.data))
	for _, e := range i.dirty {
		if e.from < len(i.data) {
			copy(i.saved[e.from:], i.data[e.from:min(e.to, len(i.data))])
		}
	}
	i.dirty, i.cut = nil, len(i.saved)
}

// resize cuts b or fills it up with zeros.
func resize(b []byte, size int) []byte {
	if size <= len(b) {
		return b[:size]
	}
	return append(b, make([]byte, size-len(b))...)
}

// sync is fsync of a file or a directory.
func (d *Disk) sync(i *inode) {
	if i.isDir() {
		for p := range i.pending() {
			d.saveName(p, nil)
		}
		d.saveWay(i)
		return
	}
	i.save()
	if d.config.Strict {
		return
	}
	for p := range i.places {
		d.saveName(p, nil)
		d.saveWay(p.dir)
	}
}

// saveWay makes durable that a directory is there, and those above it. Strictly, each of them says so itself.
func (d *Disk) saveWay(dir *inode) {
	if d.config.Strict {
		return
	}
	for p := range dir.places {
		if dir.savedPlaces[p] {
			continue
		}
		d.saveName(p, nil)
		d.saveWay(p.dir)
	}
}

// pending are the names in a directory that differ between the two states.
func (i *inode) pending() map[place]bool {
	all := map[place]bool{}
	for name, now := range i.names {
		if i.savedNames[name] != now {
			all[place{i, name}] = true
		}
	}
	for name := range i.savedNames {
		if i.names[name] == nil {
			all[place{i, name}] = true
		}
	}
	return all
}

// saveName makes durable what a name stands for, or that it stands for nothing. Names are moved as a whole:
// whoever had the name gets its new one first, and whoever gets it loses its old one. under are the places
// being saved already: names may have been exchanged.
func (d *Disk) saveName(p place, under map[place]bool) {
	now, was := p.dir.names[p.name], p.dir.savedNames[p.name]
	if now == was || under[p] {
		return
	}
	under = maps.Clone(under)
	if under == nil {
		under = map[place]bool{}
	}
	under[p] = true
	if was != nil {
		for to := range was.places {
			d.saveName(to, under)
		}
	}
	p.enterSaved(now)
	for _, c := range d.journal {
		if c.subject == now {
			c.names = nil
		}
		c.names = slices.DeleteFunc(c.names, func(n name) bool { return n.at == p })
	}
	if now == nil {
		return
	}
	for from := range maps.Clone(now.savedPlaces) {
		if from.dir.names[from.name] != now {
			from.enterSaved(nil)
		}
	}
}

// block is the unit in which bytes reach the platter.
const block = 4096

// PowerOff forgets what was not synced, except for what the dice keep. Every operation fails from then on,
// until the disk is mounted anew.
func (d *Disk) PowerOff() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off {
		return
	}
	d.off = true
	d.keepNames()
	all := d.everything()
	for _, i := range all {
		d.tear(i)
	}
	for _, i := range all {
		i.data, i.dirty, i.cut = slices.Clone(i.saved), nil, len(i.saved)
		i.names, i.places = maps.Clone(i.savedNames), maps.Clone(i.savedPlaces)
	}
}

// keepNames lets some changes of names reach the platter: the first ones.
func (d *Disk) keepNames() {
	d.journal = slices.DeleteFunc(d.journal, func(c *change) bool { return len(c.names) == 0 })
	kept := 0
	for range d.journal {
		if d.keeps() {
			kept++
		}
	}
	for _, c := range d.journal[:kept] {
		for _, n := range c.names {
			n.at.enterSaved(n.inode)
		}
	}
	d.lost.Entries += len(d.journal) - kept
	d.journal = nil
}

// tear lets some of what was written to a file reach the platter.
func (d *Disk) tear(i *inode) {
	if i.cut < len(i.saved) && d.keeps() {
		i.saved = i.saved[:i.cut]
	}
	for _, e := range i.dirty {
		for from := e.from; from < min(e.to, len(i.data)); {
			to := min((from/block+1)*block, e.to, len(i.data))
			if d.keeps() {
				i.saved = resize(i.saved, max(len(i.saved), to))
				copy(i.saved[from:to], i.data[from:to])
			} else {
				d.lost.Bytes += to - from
			}
			from = to
		}
	}
}

func (d *Disk) keeps() bool { return d.dice.Float64() < d.config.Keep }

// everything is every inode that has a name in either state, in order.
func (d *Disk) everything() (all []*inode) {
	seen := map[*inode]bool{}
	var visit func(i *inode)
	visit = func(i *inode) {
		if i == nil || seen[i] {
			return
		}
		seen[i] = true
		all = append(all, i)
		for _, names := range []map[string]*inode{i.names, i.savedNames} {
			for _, name := range slices.Sorted(maps.Keys(names)) {
				visit(names[name])
			}
		}
	}
	visit(d.root)
	slices.SortFunc(all, func(a, b *inode) int { return cmp.Compare(a.number, b.number) })
	return all
}

// Lost is what PowerOff took, in all.
func (d *Disk) Lost() Lost {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lost
}
