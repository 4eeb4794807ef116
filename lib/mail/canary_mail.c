#include "mail/canary_mail.h"
#include "base/clock.h"

void canary_mail_sender(const char *host, struct buf *out)
{
	buf_addf(out, "postmaster@%s", host);
}

/* RFC 5321 section 4.4 wants `from` of what came over a session; this did
 * not, and says so as sendmail and Postfix do of their own mail. */
static void write_trace(const struct canary_mail *mail, bool ascii,
			struct buf *out)
{
	char date[CLOCK_TEXT];

	buf_addf(out, "Received: by %s (tideover) id %s", mail->host, mail->id);
	if (ascii)
		buf_addf(out, "\r\n\tfor <%s>", mail->to);
	buf_addf(out, ";\r\n\t%s\r\n", clock_format_mail(mail->now_ms, date));
}

static void write_header(const struct canary_mail *mail, bool ascii,
			 struct buf *out)
{
	char date[CLOCK_TEXT];

	buf_addf(out, "Date: %s\r\nFrom: Mail queue of the migration <",
		 clock_format_mail(mail->now_ms, date));
	canary_mail_sender(mail->host, out);
	/* A header of ASCII cannot name the others; the envelope does. */
	if (ascii)
		buf_addf(out, ">\r\nTo: <%s>\r\n", mail->to);
	else
		buf_adds(out, ">\r\nTo: undisclosed-recipients:;\r\n");
	buf_addf(out,
		 "Subject: tideover canary %s of plan %s\r\n"
		 "Message-ID: <%s@%s>\r\n"
		 /* RFC 3834 section 5: nobody answers it by machine. */
		 "Auto-Submitted: auto-generated\r\n"
		 "MIME-Version: 1.0\r\n"
		 "Content-Type: text/plain; charset=us-ascii\r\n\r\n",
		 mail->id, mail->plan, mail->id, mail->host);
}

void canary_mail_write(const struct canary_mail *mail, struct buf *out)
{
	bool ascii = !slice_has_8bit(slice(mail->to));

	write_trace(mail, ascii, out);
	write_header(mail, ascii, out);
	buf_addf(out,
		 "This is a test message of a mail migration.  It has no other "
		 "content.\r\n\r\n"
		 "The mail queue at %s sent it\r\n"
		 "to the new mail system, %s,\r\n"
		 "on the way that the queued mail will take.\r\n\r\n"
		 "What to do: tell the people who run the migration where you "
		 "found it,\r\n"
		 "in the inbox, or in junk or quarantine.  Then delete it; "
		 "there is no need\r\n"
		 "to answer.\r\n\r\n"
		 "Plan: %s\r\n"
		 "Canary: %s\r\n",
		 mail->host, mail->target, mail->plan, mail->id);
}
