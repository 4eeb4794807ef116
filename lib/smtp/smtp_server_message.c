#include "smtp/smtp_command.h"
#include "smtp/smtp_dialogue.h"
#include <inttypes.h>
#include <stdlib.h>

/* A refused chunk is read to its end, but not one that is larger than this:
 * whoever announces it does not read our SIZE either. */
#define CHUNK_SKIP_MAX (UINT64_C(1) << 30)

void smtp_dialogue_data(struct smtp_server *server)
{
	if (!server->mail || server->tried == 0) {
		smtp_dialogue_refuse(server, 503,
				     server->mail ? "5.5.1 RCPT first" :
						    "5.5.1 MAIL first");
	} else if (server->chunks == CHUNKS) {
		/* RFC 3030, section 2: never both in one transaction. */
		smtp_dialogue_refuse(server, 503,
				     "5.5.1 the message came with BDAT so far");
	} else if (server->accepted == 0) {
		/* RFC 2920 clients come here without a fault of their own. */
		smtp_dialogue_say(server, "554 5.5.1 no valid recipients");
		smtp_dialogue_junk(server);
	} else {
		server->question = DATA_BEGIN;
		server->owner->on_data_begin(server->ctx);
	}
}

/* BDAT.  From here to end_chunk() the peer sends the bytes of the chunk. */

/* `text` is said once the chunk has passed. */
static void refuse_chunk(struct smtp_server *server, int code, const char *text)
{
	free(server->chunk_text);
	server->chunk_code = code;
	server->chunk_text = mem_dup(text);
}

/* Behind this BDAT nobody knows what is a chunk and what a command. */
static void close_at_chunk(struct smtp_server *server, int code,
			   const char *text)
{
	smtp_dialogue_say_text(server, code, text);
	smtp_dialogue_close(server);
}

static bool chunk_fits(const struct smtp_server *server)
{
	uint64_t max = server->max_size;
	uint64_t have = server->chunks == CHUNKS ? server->data.size : 0;

	return max == 0 || server->chunk_size <= max - have;
}

static void judge_chunk(struct smtp_server *server)
{
	if (!server->greeted)
		refuse_chunk(server, 503, "5.5.1 EHLO first");
	else if (server->chunks == CHUNKS_REFUSED)
		refuse_chunk(server, 503, "5.5.1 an earlier chunk was refused");
	else if (!server->mail)
		refuse_chunk(server, 503, "5.5.1 MAIL first");
	else if (server->tried == 0)
		refuse_chunk(server, 503, "5.5.1 RCPT first");
	else if (server->accepted == 0)
		refuse_chunk(server, 554, "5.5.1 no valid recipients");
}

static void end_chunk(struct smtp_server *server);

static void begin_chunk(struct smtp_server *server)
{
	server->state = CHUNK;
	server->chunk_left = server->chunk_size;
	if (server->chunk_code == 0 && !server->data.bad && !chunk_fits(server))
		server->data.bad = smtp_data_too_big;
	if (server->chunk_left == 0)
		end_chunk(server);
}

void smtp_dialogue_bdat(struct smtp_server *server, struct slice argument)
{
	if (!smtp_command_chunk(argument, &server->chunk_size,
				&server->chunk_last)) {
		close_at_chunk(server, 501,
			       "5.5.4 syntax: BDAT size [LAST]; closing");
		return;
	}
	server->chunk_code = 0;
	judge_chunk(server);
	if (server->chunk_size > CHUNK_SKIP_MAX &&
	    (server->chunk_code || !chunk_fits(server))) {
		close_at_chunk(server, 552,
			       "5.3.4 the chunk is too big; closing");
	} else if (server->chunk_code == 0 && server->chunks == NO_CHUNKS) {
		server->question = CHUNK_BEGIN;
		server->owner->on_data_begin(server->ctx);
	} else {
		begin_chunk(server);
	}
}

static void take_data(void *ctx, struct slice bytes)
{
	struct smtp_server *server = ctx;

	if (server->state == DATA || server->state == CHUNK)
		server->owner->on_data(server->ctx, bytes);
}

static void end_bad_data(struct smtp_server *server, const char *bad)
{
	server->owner->on_data_end(server->ctx, bad);
	if (server->state == CLOSED)
		return;
	server->messages++;
	if (bad == smtp_data_too_big)
		smtp_dialogue_say(server,
				  "552 5.3.4 more than %" PRIu64 " bytes",
				  server->max_size);
	else
		smtp_dialogue_say(server,
				  "550 5.6.0 %s in the message: lines must end "
				  "with CRLF and have at most %d bytes",
				  bad, SMTP_DATA_LINE_MAX);
	smtp_dialogue_forget(server);
	smtp_dialogue_error(server);
}

size_t smtp_dialogue_feed_data(struct smtp_server *server, struct slice in)
{
	size_t n = smtp_data_receive(&server->data, in, take_data, server);

	if (server->state != DATA || !smtp_data_is_whole(&server->data))
		return n;
	server->state = COMMAND;
	if (server->data.bad) {
		end_bad_data(server, server->data.bad);
	} else {
		server->question = DATA_END;
		server->owner->on_data_end(server->ctx, NULL);
	}
	return n;
}

static void end_refused_chunk(struct smtp_server *server)
{
	int code = server->chunk_code;
	/* Chunks in the pipeline behind a refused one are no fault (RFC 3030,
	 * section 2), and neither are those behind refused recipients. */
	bool fault = code == 503 && server->chunks != CHUNKS_REFUSED;

	smtp_dialogue_say_text(server, code, server->chunk_text);
	if (server->chunks == CHUNKS_REFUSED && server->chunk_last)
		server->chunks = NO_CHUNKS;
	if (fault)
		smtp_dialogue_error(server);
	else
		smtp_dialogue_junk(server);
}

static void end_bad_chunk(struct smtp_server *server)
{
	end_bad_data(server, server->data.bad);
	if (!server->chunk_last)
		server->chunks = CHUNKS_REFUSED;
}

static void end_chunk(struct smtp_server *server)
{
	server->state = COMMAND;
	if (server->chunk_code) {
		end_refused_chunk(server);
		return;
	}
	if (server->chunk_last)
		smtp_data_end_chunks(&server->data);
	if (server->data.bad) {
		end_bad_chunk(server);
	} else if (server->chunk_last) {
		server->question = DATA_END;
		server->owner->on_data_end(server->ctx, NULL);
	} else {
		smtp_dialogue_say(server, "250 2.0.0 %" PRIu64 " bytes, go on",
				  server->chunk_size);
		if (server->chunk_size == 0)
			smtp_dialogue_junk(server);
	}
}

size_t smtp_dialogue_feed_chunk(struct smtp_server *server, struct slice in)
{
	if (in.len > server->chunk_left)
		in.len = (size_t)server->chunk_left;
	if (server->chunk_code == 0)
		smtp_data_receive(&server->data, in, take_data, server);
	server->chunk_left -= in.len;
	if (server->state == CHUNK && server->chunk_left == 0)
		end_chunk(server);
	return in.len;
}

/* What refuses the first chunk refuses the message. */
void smtp_dialogue_chunk_begin(struct smtp_server *server, int code,
			       const char *text)
{
	if (code == 354) {
		server->chunks = CHUNKS;
		smtp_data_begin_chunks(&server->data, server->max_size);
	} else {
		refuse_chunk(server, code, text);
		smtp_dialogue_forget(server);
		server->chunks = CHUNKS_REFUSED;
	}
	begin_chunk(server);
}
