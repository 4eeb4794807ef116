#include "cli/report_chart.h"
#include "base/clock.h"
#include "base/encode.h"
#include <stdlib.h>

enum {
	WIDTH = 1000,
	LEFT = 210, /* room for the names of the strips */
	QUEUE_LEFT = 60,
	RIGHT = 10,
	QUEUE_HEIGHT = 220,
	TOP = 30,
	BOTTOM = 24,
	STRIP = 22,
	TICKS = 5,
	STRIPS_MAX = 60
};

struct axis {
	int64_t from_ms, to_ms;
	int left;
};

static double x_of(const struct axis *axis, int64_t at_ms)
{
	return axis->left + (double)(at_ms - axis->from_ms) *
				    (WIDTH - RIGHT - axis->left) /
				    (double)(axis->to_ms - axis->from_ms);
}

static bool time_of(const struct json *object, int64_t *at_ms)
{
	const char *text = json_get_text(object, "at");

	return text && clock_parse(slice(text), at_ms, NULL) == 0;
}

static void add_title(const char *text, struct buf *out)
{
	buf_adds(out, "<title>");
	encode_html(slice(text), out);
	buf_adds(out, "</title>");
}

static void begin(const char *what, int height, struct buf *out)
{
	buf_addf(out, "<svg viewBox=\"0 0 %d %d\" role=img aria-label=\"%s\">",
		 WIDTH, height, what);
}

/* Times of day along the lower edge; UTC, like everything in a report. */
static void add_ticks(const struct axis *axis, int y, struct buf *out)
{
	for (int i = 0; i < TICKS; i++) {
		int64_t at = axis->from_ms +
			     (axis->to_ms - axis->from_ms) * i / (TICKS - 1);
		char text[CLOCK_TEXT];
		const char *anchor = i == 0	    ? "start" :
				     i == TICKS - 1 ? "end" :
						      "middle";

		clock_format(at, text);
		buf_addf(out,
			 "<text x=%.1f y=%d text-anchor=%s>%.5s %.8s</text>",
			 x_of(axis, at), y, anchor, text + 5, text + 11);
	}
}

static void add_phases(const struct report *report, const struct axis *axis,
		       int bottom, struct buf *out)
{
	bool low = false;

	for (const struct json *it =
		     json_first(json_get(report->data, "phases"));
	     it; it = json_next(it), low = !low) {
		const char *name = json_get_text(it, "to");
		int64_t at;
		double x;

		if (!name || !time_of(it, &at))
			continue;
		x = x_of(axis, at);
		buf_addf(
			out,
			"<line x1=%.1f x2=%.1f y1=%d y2=%d stroke=\"var(--dim)\" "
			"stroke-dasharray=\"3 3\"/><text x=%.1f y=%d%s>",
			x, x, TOP, bottom, x > WIDTH - 80 ? x - 3 : x + 3,
			low ? 24 : 11,
			x > WIDTH - 80 ? " text-anchor=end" : "");
		encode_html(slice(name), out);
		buf_adds(out, "</text>");
	}
}

static void add_line(const struct json *samples, const char *key,
		     const struct axis *axis, double most, const char *colour,
		     struct buf *out)
{
	double height = QUEUE_HEIGHT - TOP - BOTTOM;

	buf_addf(out,
		 "<polyline fill=none stroke-width=2 stroke=\"var(--%s)\" "
		 "points=\"",
		 colour);
	for (const struct json *it = json_first(samples); it;
	     it = json_next(it)) {
		int64_t at;

		if (time_of(it, &at))
			buf_addf(out, "%.1f,%.1f ", x_of(axis, at),
				 QUEUE_HEIGHT - BOTTOM -
					 json_get_number(it, key, 0) * height /
						 most);
	}
	buf_adds(out, "\">");
	add_title(key, out);
	buf_adds(out, "</polyline>");
}

void report_chart_queue(const struct report *report, struct buf *out)
{
	const struct json *samples = json_get(report->data, "samples");
	struct axis axis = { .left = QUEUE_LEFT };
	double most = 1;
	int bottom = QUEUE_HEIGHT - BOTTOM;

	if (json_count(samples) < 2)
		return;
	report_span(report, &axis.from_ms, &axis.to_ms);
	for (const struct json *it = json_first(samples); it;
	     it = json_next(it)) {
		double waiting = json_get_number(it, "waiting", 0);
		double held = json_get_number(it, "held", 0);

		most = waiting > most ? waiting : most;
		most = held > most ? held : most;
	}
	begin("envelopes waiting and held over time", QUEUE_HEIGHT, out);
	buf_addf(out,
		 "<line x1=%d x2=%d y1=%d y2=%d stroke=\"var(--line)\"/>"
		 "<text x=%d y=%d text-anchor=end>%.0f</text>"
		 "<text x=%d y=%d text-anchor=end>0</text>",
		 QUEUE_LEFT, WIDTH - RIGHT, bottom, bottom, QUEUE_LEFT - 6,
		 TOP + 4, most, QUEUE_LEFT - 6, bottom);
	add_phases(report, &axis, bottom, out);
	add_line(samples, "waiting", &axis, most, "parked", out);
	add_line(samples, "held", &axis, most, "bad", out);
	add_ticks(&axis, QUEUE_HEIGHT - 6, out);
	buf_adds(out, "</svg>\n<p><span style=\"color:var(--parked)\">"
		      "&#9644; waiting</span> <span style=\"color:var(--bad)\">"
		      "&#9644; held</span></p>\n");
}

/* Is it the same strip: one domain as one vantage sees it? */
static bool same_strip(const struct json *a, const struct json *b)
{
	static const char *const keys[] = { "domain", "vantage", "address" };

	for (size_t i = 0; i < COUNT(keys); i++) {
		const char *one = json_get_text(a, keys[i]);
		const char *other = json_get_text(b, keys[i]);

		if (strcmp(one ? one : "", other ? other : "") != 0)
			return false;
	}
	return true;
}

static bool is_first(const struct json *list, const struct json *one)
{
	const struct json *it = json_first(list);

	while (it != one && !same_strip(it, one))
		it = json_next(it);
	return it == one;
}

static void add_stretch(const struct json *seen, const struct json *next,
			const struct axis *axis, int y, struct buf *out)
{
	const char *view = json_get_text(seen, "view");
	const char *mx = json_get_text(seen, "mx");
	int64_t from, to = axis->to_ms;
	char *title;

	if (!view || !time_of(seen, &from))
		return;
	if (next)
		time_of(next, &to);
	title = mem_printf("%s from %s: %s", view, json_get_text(seen, "at"),
			   mx ? mx : "");
	buf_addf(out,
		 "<rect x=%.1f y=%d width=%.1f height=%d rx=2 "
		 "fill=\"var(--",
		 x_of(axis, from), y, x_of(axis, to) - x_of(axis, from),
		 STRIP - 6);
	encode_html(slice(view), out);
	buf_adds(out, ")\">");
	add_title(title, out);
	buf_adds(out, "</rect>");
	free(title);
}

static void add_strip(const struct json *first, const struct axis *axis, int y,
		      struct buf *out)
{
	const struct json *seen = first;

	buf_addf(out, "<text x=0 y=%d>", y + STRIP - 10);
	encode_html(slice(json_get_text(first, "domain")), out);
	buf_adds(out, " @ ");
	encode_html(slice(json_get_text(first, "address")), out);
	buf_adds(out, "</text>");
	while (seen) {
		const struct json *next = json_next(seen);

		while (next && !same_strip(seen, next))
			next = json_next(next);
		add_stretch(seen, next, axis, y, out);
		seen = next;
	}
}

void report_chart_mx(const struct report *report, struct buf *out)
{
	static const char *const views[] = { "old",	"mixed", "parked",
					     "standby", "new",	 "other",
					     "error" };
	const struct json *list = json_get(report->data, "observations");
	struct axis axis = { .left = LEFT };
	int strips = 0, at = 0;

	for (const struct json *it = json_first(list); it; it = json_next(it))
		strips += is_first(list, it);
	if (strips == 0)
		return;
	if (strips > STRIPS_MAX)
		strips = STRIPS_MAX;
	report_span(report, &axis.from_ms, &axis.to_ms);
	begin("the MX set that each vantage point saw over time",
	      strips * STRIP + BOTTOM, out);
	for (const struct json *it = json_first(list); it && at < strips;
	     it = json_next(it))
		if (is_first(list, it))
			add_strip(it, &axis, at++ * STRIP, out);
	add_ticks(&axis, strips * STRIP + BOTTOM - 6, out);
	buf_adds(out, "</svg>\n<p>");
	for (size_t i = 0; i < COUNT(views); i++)
		buf_addf(out,
			 "<span style=\"color:var(--%s)\">&#9644; %s</span> ",
			 views[i], views[i]);
	buf_adds(out, "</p>\n");
}
