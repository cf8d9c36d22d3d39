package lossyfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Mount shows the disk in an empty directory, with the power on.
func (d *Disk) Mount(dir string) error {
	d.mu.Lock()
	d.off = false
	d.mu.Unlock()
	long := time.Hour // nobody changes the disk but through this mount
	server, err := fs.Mount(dir, &node{disk: d, inode: d.root}, &fs.Options{
		EntryTimeout: &long, AttrTimeout: &long,
		RootStableAttr: &fs.StableAttr{Ino: d.root.number, Mode: syscall.S_IFDIR},
		MountOptions:   fuse.MountOptions{DirectMountStrict: true, FsName: "lossyfs", Name: "lossyfs", DisableXAttrs: true},
	})
	if err != nil {
		return fmt.Errorf("mount lossyfs: %w", err)
	}
	d.server = server
	return nil
}

// Unmount takes the disk away, with everything on it if the power is on. Programs that use it must be gone, or
// killed: the kernel lets go of their files a moment after their end is seen, and is asked again until then.
func (d *Disk) Unmount() error {
	if d.server == nil {
		return nil
	}
	err := d.server.Unmount()
	for deadline := time.Now().Add(30 * time.Second); err != nil && time.Now().Before(deadline); err = d.server.Unmount() {
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("unmount lossyfs: %w", err)
	}
	d.server = nil
	return nil
}

// node is an inode as FUSE sees it.
type node struct {
	fs.Inode
	disk  *Disk
	inode *inode
}

var (
	_ fs.NodeLookuper  = (*node)(nil)
	_ fs.NodeReaddirer = (*node)(nil)
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeSetattrer = (*node)(nil)
	_ fs.NodeCreater   = (*node)(nil)
	_ fs.NodeMkdirer   = (*node)(nil)
	_ fs.NodeLinker    = (*node)(nil)
	_ fs.NodeUnlinker  = (*node)(nil)
	_ fs.NodeRmdirer   = (*node)(nil)
	_ fs.NodeRenamer   = (*node)(nil)
	_ fs.NodeOpener    = (*node)(nil)
	_ fs.NodeReader    = (*node)(nil)
	_ fs.NodeWriter    = (*node)(nil)
	_ fs.NodeFsyncer   = (*node)(nil)
	_ fs.NodeAllocater = (*node)(nil)
	_ fs.NodeStatfser  = (*node)(nil)
)

// handle is an open file.
type handle struct{ sync bool } // each write is an fsync, too

func opened(flags uint32) *handle {
	return &handle{sync: flags&(syscall.O_SYNC|syscall.O_DSYNC) != 0}
}

// look runs a question under the disk's lock.
func (n *node) look(f func() syscall.Errno) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if n.disk.off {
		return syscall.EIO
	}
	return f()
}

// change runs a change under the disk's lock, unless the test has it fail.
func (n *node) change(operation string, f func() syscall.Errno) syscall.Errno {
	if before := n.disk.config.Before; before != nil {
		if err := before(operation); err != nil {
			return errno(err)
		}
	}
	return n.look(f)
}

func errno(err error) syscall.Errno {
	var e syscall.Errno
	if errors.As(err, &e) {
		return e
	}
	return syscall.EIO
}

func (i *inode) attr(out *fuse.Attr) {
	out.Ino, out.Mode, out.Owner, out.Nlink, out.Blksize = i.number, i.mode, i.owner, uint32(max(1, len(i.places))), block
	out.Size, out.Blocks = uint64(len(i.data)), uint64(len(i.data)+511)/512
	out.SetTimes(&i.mtime, &i.mtime, &i.mtime)
}

// show gives FUSE a child of n.
func (n *node) show(ctx context.Context, i *inode, out *fuse.EntryOut) *fs.Inode {
	i.attr(&out.Attr)
	return n.NewInode(ctx, &node{disk: n.disk, inode: i}, fs.StableAttr{Mode: i.mode & syscall.S_IFMT, Ino: i.number})
}

func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (child *fs.Inode, e syscall.Errno) {
	e = n.look(func() syscall.Errno {
		i := n.inode.names[name]
		if i == nil {
			return syscall.ENOENT
		}
		child = n.show(ctx, i, out)
		return fs.OK
	})
	return child, e
}

func (n *node) Readdir(context.Context) (list fs.DirStream, e syscall.Errno) {
	e = n.look(func() syscall.Errno {
		var entries []fuse.DirEntry
		for _, name := range slices.SortedFunc(maps.Keys(n.inode.names), cmp.Compare[string]) {
			i := n.inode.names[name]
			entries = append(entries, fuse.DirEntry{Name: name, Ino: i.number, Mode: i.mode})
		}
		list = fs.NewListDirStream(entries)
		return fs.OK
	})
	return list, e
}

func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	return n.look(func() syscall.Errno {
		n.inode.attr(&out.Attr)
		return fs.OK
	})
}

func (n *node) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	size, cuts := in.GetSize()
	apply := func() syscall.Errno {
		i := n.inode
		if cuts {
			i.truncate(int(size))
		}
		if mode, ok := in.GetMode(); ok {
			i.mode = i.mode&syscall.S_IFMT | mode&^syscall.S_IFMT
		}
		if uid, ok := in.GetUID(); ok {
			i.owner.Uid = uid
		}
		if gid, ok := in.GetGID(); ok {
			i.owner.Gid = gid
		}
		if at, ok := in.GetMTime(); ok {
			i.mtime = at
		}
		i.attr(&out.Attr)
		return fs.OK
	}
	if cuts {
		return n.change("truncate", apply)
	}
	return n.look(apply)
}

// called is the name of i in n.
func called(n *node, as string, i *inode) name { return name{place{n.inode, as}, i} }

// add makes a file or directory under a name of n.
func (n *node) add(ctx context.Context, operation, name string, mode uint32, out *fuse.EntryOut) (child *fs.Inode, e syscall.Errno) {
	e = n.change(operation, func() syscall.Errno {
		if n.inode.names[name] != nil {
			return syscall.EEXIST
		}
		i := n.disk.inode(mode)
		if caller, ok := fuse.FromContext(ctx); ok {
			i.owner = caller.Owner
		}
		n.disk.name(i, called(n, name, i))
		child = n.show(ctx, i, out)
		return fs.OK
	})
	return child, e
}

func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	child, e := n.add(ctx, "create", name, syscall.S_IFREG|mode&0o7777, out)
	return child, opened(flags), 0, e
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.add(ctx, "mkdir", name, syscall.S_IFDIR|mode&0o7777, out)
}

func (n *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (child *fs.Inode, e syscall.Errno) {
	e = n.change("link", func() syscall.Errno {
		if n.inode.names[name] != nil {
			return syscall.EEXIST
		}
		i := target.(*node).inode
		n.disk.name(i, called(n, name, i))
		child = n.show(ctx, i, out)
		return fs.OK
	})
	return child, e
}

func (n *node) Unlink(_ context.Context, name string) syscall.Errno { return n.remove("unlink", name) }
func (n *node) Rmdir(_ context.Context, name string) syscall.Errno  { return n.remove("rmdir", name) }

func (n *node) remove(operation, name string) syscall.Errno {
	return n.change(operation, func() syscall.Errno {
		switch i := n.inode.names[name]; {
		case i == nil:
			return syscall.ENOENT
		case len(i.names) > 0:
			return syscall.ENOTEMPTY
		}
		n.disk.name(n.inode.names[name], called(n, name, nil))
		return fs.OK
	})
}

func (n *node) Rename(_ context.Context, old string, into fs.InodeEmbedder, as string, flags uint32) syscall.Errno {
	return n.change("rename", func() syscall.Errno {
		from, to := place{n.inode, old}, place{into.EmbeddedInode().Operations().(*node).inode, as}
		i, replaced := from.dir.names[old], to.dir.names[as]
		switch {
		case flags != 0:
			return syscall.EINVAL
		case i == nil:
			return syscall.ENOENT
		case replaced != nil && len(replaced.names) > 0:
			return syscall.ENOTEMPTY
		case i == replaced:
			return fs.OK
		}
		n.disk.name(i, name{from, nil}, name{to, i})
		return fs.OK
	})
}

func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_TRUNC == 0 {
		return opened(flags), 0, n.look(func() syscall.Errno { return fs.OK })
	}
	return opened(flags), 0, n.change("truncate", func() syscall.Errno {
		n.inode.truncate(0)
		return fs.OK
	})
}

func (n *node) Read(_ context.Context, _ fs.FileHandle, into []byte, offset int64) (result fuse.ReadResult, e syscall.Errno) {
	e = n.look(func() syscall.Errno {
		data := n.inode.data
		read := copy(into, data[min(int(offset), len(data)):])
		result = fuse.ReadResultData(into[:read])
		return fs.OK
	})
	return result, e
}

func (n *node) Write(_ context.Context, f fs.FileHandle, b []byte, offset int64) (uint32, syscall.Errno) {
	e := n.change("write", func() syscall.Errno {
		n.inode.write(b, int(offset))
		return fs.OK
	})
	if h, ok := f.(*handle); ok && h.sync && e == fs.OK {
		e = n.fsync("fsync")
	}
	if e != fs.OK {
		return 0, e
	}
	return uint32(len(b)), fs.OK
}

// Fsync is of files and of directories.
func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	if n.inode.isDir() {
		return n.fsync("fsyncdir")
	}
	return n.fsync("fsync")
}

func (n *node) fsync(operation string) syscall.Errno {
	return n.change(operation, func() syscall.Errno {
		n.disk.sync(n.inode)
		return fs.OK
	})
}

const keepSize = 1 // FALLOC_FL_KEEP_SIZE

// Allocate reserves room, of which there is no end; without keepSize the file is as long as that.
func (n *node) Allocate(_ context.Context, _ fs.FileHandle, offset, size uint64, mode uint32) syscall.Errno {
	switch mode {
	case keepSize:
		return fs.OK
	case 0:
		return n.change("truncate", func() syscall.Errno {
			n.inode.truncate(max(len(n.inode.data), int(offset+size)))
			return fs.OK
		})
	}
	return syscall.ENOTSUP
}

func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	const blocks = 64 << 30 / block
	*out = fuse.StatfsOut{Blocks: blocks, Bfree: blocks, Bavail: blocks, Files: 1 << 20, Ffree: 1 << 20, Bsize: block, Frsize: block, NameLen: 255}
	return fs.OK
}
