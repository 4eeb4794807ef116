#include "base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

int file_read(const char *path, size_t max_bytes, struct buf *out,
	      struct err *err)
{
	size_t start = out->len;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_errno(err, "cannot open %s", path);
	for (;;) {
		ssize_t got;

		buf_reserve(out, 65536);
		got = read(fd, out->p + out->len, 65536);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			err_errno(err, "cannot read %s", path);
			break;
		}
		out->len += (size_t)got;
		out->p[out->len] = '\0';
		if (out->len - start > max_bytes) {
			err_set(err, "%s is larger than %zu bytes", path,
				max_bytes);
			break;
		}
		if (got == 0) {
			close(fd);
			return 0;
		}
	}
	close(fd);
	out->len = start;
	return -1;
}

int file_write_all(int fd, struct slice bytes, struct err *err)
{
	while (bytes.len > 0) {
		ssize_t put = write(fd, bytes.p, bytes.len);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return err_errno(err, "cannot write");
		bytes = slice_from(bytes, (size_t)put);
	}
	return 0;
}

int file_sync_dir(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int result = 0;

	if (fd < 0)
		return err_errno(err, "cannot open folder %s", path);
	if (fsync(fd) < 0)
		result = err_errno(err, "cannot sync folder %s", path);
	close(fd);
	return result;
}

int file_sync_parent(const char *path, struct err *err)
{
	ptrdiff_t at = slice_rfind(slice(path), '/');
	char *parent =
		at < 0 ? mem_dup(".") :
			 slice_dup(slice_of(path, at > 0 ? (size_t)at : 1));
	int result = file_sync_dir(parent, err);

	free(parent);
	return result;
}

int file_write(const char *path, struct slice bytes, unsigned mode,
	       struct err *err)
{
	char *tmp = mem_printf("%s.%d.tmp", path, (int)getpid());
	int result = -1;
	int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	if (fd < 0) {
		err_errno(err, "cannot create %s", tmp);
		goto out;
	}
	if (file_write_all(fd, bytes, err) < 0) {
		err_prefix(err, "%s", tmp);
		goto out;
	}
	if (fsync(fd) < 0) {
		err_errno(err, "cannot sync %s", tmp);
		goto out;
	}
	if (rename(tmp, path) < 0) {
		err_errno(err, "cannot rename %s to %s", tmp, path);
		goto out;
	}
	result = file_sync_parent(path, err);
out:
	if (fd >= 0)
		close(fd);
	if (result < 0)
		unlink(tmp);
	free(tmp);
	return result;
}

int file_make_dirs(const char *path, unsigned mode, struct err *err)
{
	char *copy = mem_dup(path);
	int result = 0;

	for (char *p = copy + 1; result == 0; p++) {
		char was = *p;

		if (was != '/' && was != '\0')
			continue;
		*p = '\0';
		if (mkdir(copy, mode) < 0 && errno != EEXIST)
			result = err_errno(err, "cannot make folder %s", copy);
		*p = was;
		if (was == '\0')
			break;
	}
	free(copy);
	return result;
}

bool file_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

void file_state(const char *path, struct buf *out)
{
	struct stat is;

	if (stat(path, &is) < 0)
		is = (struct stat){ 0 };
	buf_addf(out, "%llu %lld %lld.%09ld\n", (unsigned long long)is.st_ino,
		 (long long)is.st_size, (long long)is.st_mtim.tv_sec,
		 is.st_mtim.tv_nsec);
}

int file_space(const char *path, struct file_space *space, struct err *err)
{
	struct statvfs fs;

	if (statvfs(path, &fs) < 0)
		return err_errno(err, "cannot ask how full %s is", path);
	space->free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	space->total_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
	space->free_inodes = fs.f_favail;
	space->total_inodes = fs.f_files;
	return 0;
}

uint64_t file_space_reserve(const struct file_space *space)
{
	const uint64_t least = 64ull << 20, most = 2ull << 30;
	uint64_t reserve = space->total_bytes / 20;

	if (reserve < least)
		return least;
	return reserve < most ? reserve : most;
}
