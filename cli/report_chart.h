/*
 * report_chart.h - the charts of a report as inline SVG
 *
 * Colours are CSS variables of the page, so they follow its light or dark
 * scheme; every mark has a <title> for those who do not see colours.
 */
#ifndef CLI_REPORT_CHART_H
#define CLI_REPORT_CHART_H

#include "cli/report_model.h"

/* Waiting and held envelopes over time, and the phases. */
void report_chart_queue(const struct report *report, struct buf *out);
/* One strip per vantage point: which MX set it showed, when. */
void report_chart_mx(const struct report *report, struct buf *out);

#endif
