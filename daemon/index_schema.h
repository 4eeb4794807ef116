/*
 * index_schema.h - the tables of the index, as SQL
 *
 * For daemon/index*.c alone.  The counters are kept by triggers, so that
 * totals cost the same at ten and at a million envelopes; tally() is a function
 * of ours (index_tally.h).
 */
#ifndef DAEMON_INDEX_SCHEMA_H
#define DAEMON_INDEX_SCHEMA_H

#define INDEX_VERSION 3 /* as in the first INSERT below */

static const char index_schema[] =
	"CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL)"
	" STRICT, WITHOUT ROWID;"
	"INSERT INTO meta VALUES('version',3),('segment',0),('offset',0),"
	" ('evidence',0);"
	"CREATE TABLE message(seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,"
	" plan TEXT NOT NULL, accepted INTEGER NOT NULL,"
	" reverse_path TEXT NOT NULL, helo TEXT NOT NULL, peer TEXT NOT NULL,"
	" protocol TEXT NOT NULL, tls TEXT NOT NULL, flags INTEGER NOT NULL,"
	" bytes INTEGER NOT NULL, sha256 TEXT NOT NULL,"
	" segment INTEGER NOT NULL, offset INTEGER NOT NULL,"
	" body INTEGER NOT NULL) STRICT;"
	"CREATE TABLE envelope(seq INTEGER NOT NULL, n INTEGER NOT NULL,"
	" plan TEXT NOT NULL, domain TEXT NOT NULL,"
	" forward_path TEXT NOT NULL, state INTEGER NOT NULL DEFAULT 0,"
	" mailbox_held INTEGER NOT NULL DEFAULT 0, reason TEXT, by TEXT,"
	" attempts INTEGER NOT NULL DEFAULT 0,"
	" uncertain INTEGER NOT NULL DEFAULT 0,"
	" begin INTEGER NOT NULL DEFAULT 0, next INTEGER NOT NULL DEFAULT 0,"
	" ended INTEGER NOT NULL DEFAULT 0,"
	" PRIMARY KEY(seq, n)) STRICT, WITHOUT ROWID;"
	"CREATE INDEX live ON envelope(plan, seq, n) WHERE state < 2;"
	"CREATE INDEX unsure ON envelope(plan, seq, n) WHERE uncertain > 0;"
	"CREATE TABLE attempt(seq INTEGER NOT NULL, n INTEGER NOT NULL,"
	" number INTEGER NOT NULL, at INTEGER NOT NULL, target TEXT NOT NULL,"
	" tls TEXT NOT NULL, stage TEXT NOT NULL, code INTEGER NOT NULL,"
	" enhanced TEXT NOT NULL, reply TEXT NOT NULL,"
	" outcome INTEGER NOT NULL, uncertain INTEGER NOT NULL,"
	" PRIMARY KEY(seq, n, number, at)) STRICT, WITHOUT ROWID;"
	"CREATE TABLE counter(plan TEXT NOT NULL, domain TEXT NOT NULL,"
	" state INTEGER NOT NULL, count INTEGER NOT NULL,"
	" PRIMARY KEY(plan, domain, state)) STRICT, WITHOUT ROWID;"
	"CREATE TABLE arrived(hour INTEGER PRIMARY KEY, bytes INTEGER NOT NULL)"
	" STRICT;"
	"CREATE TRIGGER born AFTER INSERT ON envelope BEGIN"
	" SELECT tally(new.plan, new.domain, new.state, 1); END;"
	"CREATE TRIGGER moved AFTER UPDATE OF state ON envelope"
	" WHEN old.state <> new.state BEGIN"
	" SELECT tally(old.plan, old.domain, old.state, -1),"
	" tally(new.plan, new.domain, new.state, 1); END;";

#endif
