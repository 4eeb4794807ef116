#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/file.h"
#include "daemon/courier.h"
#include "net/stream.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	GIVE_UP_MS = 60000,
	LARGE = 16 * 1024 * 1024, /* more than two sockets hold */
	SMALL = 1000,
	POLL_MS = 10,
	STILL = 5
};

/* A courier, and the host that it goes to, on one loop. */
struct scene {
	struct loop *loop;
	struct loop_timer *late;
	char dir[64];
	struct spool_reader *reader;
	struct courier *courier;
	struct courier_parcel parcels[2];
	size_t at;
	struct smtp_reply replies[2];
	/* The host. */
	int fd;
	int peer_fd;
	struct loop_watch *watch;
	struct loop_timer *poll;
	int came; /* bytes that wait to be read, by the last look */
	unsigned still;
	struct stream *stream;
	struct buf in;
	size_t chunk_left;
	bool refuses; /* the next chunk */
};

static void too_late(void *ctx)
{
	fail_msg("it did not come to pass in time");
}

static void carry(struct scene *scene);

static void done(void *ctx, enum smtp_stage stage,
		 const struct smtp_reply *reply)
{
	struct scene *scene = ctx;

	scene->replies[scene->at++] = *reply;
	if (scene->at == COUNT(scene->parcels))
		loop_stop(scene->loop);
	else
		carry(scene);
	/* The rest of what it refused is still on its way to it. */
	stream_resume(scene->stream);
}

static void carry(struct scene *scene)
{
	courier_carry(scene->courier, &scene->parcels[scene->at], done, scene);
}

/* The host: refuses the first chunk once no more comes behind it, as the peer
 * has filled what lies between. */

static void say(struct scene *scene, const char *line)
{
	stream_write(scene->stream, slice(line));
}

static void poll(void *ctx)
{
	struct scene *scene = ctx;
	int before = scene->came;

	assert_int_equal(ioctl(scene->peer_fd, FIONREAD, &scene->came), 0);
	scene->still = scene->came == before ? scene->still + 1 : 0;
	if (scene->still == STILL)
		say(scene, "552 5.3.4 too big\r\n");
	else
		loop_timer_arm(scene->poll, POLL_MS);
}

static void chunk_is_in(struct scene *scene)
{
	if (scene->refuses) {
		scene->refuses = false;
		stream_pause(scene->stream);
		loop_timer_arm(scene->poll, 0);
	} else if (scene->at == 0) {
		say(scene, "503 5.5.1 refused before\r\n");
	} else {
		say(scene, "250 2.0.0 ok\r\n");
	}
}

static void obey(struct scene *scene, struct slice line)
{
	struct slice words = line, size;

	if (slice_starts(line, "EHLO")) {
		say(scene, "250-host.example\r\n250-PIPELINING\r\n"
			   "250 CHUNKING\r\n");
	} else if (slice_starts(line, "BDAT ")) {
		uint64_t bytes;

		slice_split(&words, ' ');
		size = slice_split(&words, ' ');
		assert_true(slice_u64(size, &bytes));
		scene->chunk_left = bytes;
	} else {
		say(scene, "250 2.0.0 ok\r\n");
	}
}

static void on_input(void *ctx)
{
	struct scene *scene = ctx;
	struct slice in = stream_peek(scene->stream);

	buf_add(&scene->in, in);
	stream_consume(scene->stream, in.len);
	while (scene->in.len > 0) {
		struct slice all = buf_slice(&scene->in);
		ptrdiff_t end;

		if (scene->chunk_left > 0) {
			size_t n = all.len < scene->chunk_left ?
					   all.len :
					   scene->chunk_left;

			buf_consume(&scene->in, n);
			scene->chunk_left -= n;
			if (scene->chunk_left == 0)
				chunk_is_in(scene);
			continue;
		}
		end = slice_find(all, '\n');
		if (end < 0)
			break;
		obey(scene, slice_of(all.p, (size_t)end - 1));
		buf_consume(&scene->in, (size_t)end + 1);
	}
}

static void on_end(void *ctx, const char *why)
{
}

static const struct stream_events host_events = { .on_input = on_input,
						  .on_end = on_end };

static void on_connect(void *ctx, int fd, int what)
{
	struct scene *scene = ctx;

	scene->peer_fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
	scene->stream =
		stream_accept(scene->loop, scene->peer_fd, &host_events, scene);
	say(scene, "220 host.example ESMTP\r\n");
}

static int listen_small(struct scene *scene)
{
	struct addr addr;
	int small = 4096;

	assert_int_equal(addr_from_ip(slice("127.0.0.1"), 0, &addr, NULL), 0);
	scene->fd = addr_listen(&addr, 5, NULL);
	assert_true(scene->fd >= 0);
	setsockopt(scene->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	scene->watch = loop_watch_new(scene->loop, scene->fd, LOOP_READ,
				      on_connect, scene);
	assert_int_equal(addr_of_socket(scene->fd, &addr, NULL), 0);
	return addr_port(&addr);
}

static void make_parcel(struct scene *scene, size_t i, size_t bytes)
{
	struct courier_parcel *parcel = &scene->parcels[i];
	struct buf body = BUF_INIT;
	char *path;

	*parcel = (struct courier_parcel){
		.reverse_path = "a@b.example",
		.forward_path = "box@acme.example",
		.bytes = bytes,
		.id = id_new(1000),
		.place.segment = 1,
	};
	buf_reserve(&body, bytes);
	memset(body.p, 'x', bytes);
	path = mem_printf("%s/%s.msg", scene->dir, parcel->id.text);
	assert_int_equal(file_write(path, slice_of(body.p, bytes), 0600, NULL),
			 0);
	buf_release(&body);
	free(path);
}

static int scene_new(void **state)
{
	struct scene *scene = mem_alloc(sizeof(*scene));

	snprintf(scene->dir, sizeof(scene->dir),
		 "/tmp/tideover-courier-XXXXXX");
	assert_non_null(mkdtemp(scene->dir));
	scene->loop = loop_new(NULL);
	scene->late = loop_timer_new(scene->loop, too_late, NULL);
	loop_timer_arm(scene->late, GIVE_UP_MS);
	scene->poll = loop_timer_new(scene->loop, poll, scene);
	scene->reader = spool_reader_new(scene->loop, scene->dir, NULL, NULL);
	scene->courier = courier_new(&(struct courier_spec){
		.loop = scene->loop,
		.reader = scene->reader,
		.policy = PLAN_TLS_OPPORTUNISTIC,
		.host = "127.0.0.1",
		.port = listen_small(scene),
		.helo = "hold.example",
		.data_reply_ms = GIVE_UP_MS,
	});
	*state = scene;
	return 0;
}

static int scene_free(void **state)
{
	struct scene *scene = *state;
	char *remove = mem_printf("rm -rf %s", scene->dir);

	courier_free(scene->courier);
	spool_reader_free(scene->reader);
	stream_free(scene->stream);
	loop_watch_free(scene->watch);
	close(scene->fd);
	loop_timer_free(scene->late);
	loop_timer_free(scene->poll);
	loop_free(scene->loop);
	buf_release(&scene->in);
	assert_int_equal(system(remove), 0);
	free(remove);
	free(scene);
	return 0;
}

/* While the rest of the first still leaves, nobody waits for the second. */
static void a_parcel_behind_a_refused_chunk_waits_for_its_turn(void **state)
{
	struct scene *scene = *state;

	make_parcel(scene, 0, LARGE);
	make_parcel(scene, 1, SMALL);
	scene->refuses = true;
	carry(scene);
	loop_run(scene->loop);
	assert_int_equal(scene->replies[0].code, 552);
	assert_int_equal(scene->replies[1].code, 250);
}

#define scene_test(f) cmocka_unit_test_setup_teardown(f, scene_new, scene_free)

int main(void)
{
	const struct CMUnitTest tests[] = {
		scene_test(a_parcel_behind_a_refused_chunk_waits_for_its_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
