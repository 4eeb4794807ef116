/*
 * queue_export.h - messages of the queue as files that other programs read
 *
 * One .eml file per message, all in one mbox (mboxrd, mail/mbox.h), or a
 * Maildir.  A message is written once, however many of its envelopes were
 * selected.  What is there already is never touched: an existing file is an
 * error, and a message that does not arrive whole leaves nothing behind.
 */
#ifndef CLI_QUEUE_EXPORT_H
#define CLI_QUEUE_EXPORT_H

#include "cli/command.h"

struct queue_export;

/* `format` is "eml", "mbox" or "maildir", `path` a folder (mbox: a file, or "-":
 * stdout).  NULL with err. */
struct queue_export *queue_export_new(struct command_call *call,
				      const char *plan, const char *format,
				      const char *path, struct err *err);
/* A row of the list; errors are told, and counted. */
void queue_export_add(struct queue_export *export, const struct json *row);
/* Syncs, frees; {"format","path","files":[..],"messages","failed"}, owned by
 * the caller. */
struct json *queue_export_end(struct queue_export *export);

#endif
