/*
 * timeline.h - the night, step by step
 *
 * From a plan and what DNS showed: every step with its earliest time, the
 * exact records in zone-file form, who must do it, the check that will confirm
 * it, the way back, and the point of no return.
 */
#ifndef CUTOVER_TIMELINE_H
#define CUTOVER_TIMELINE_H

#include "cutover/facts.h"

/* [{"step":1,"title":..,"who":..,"earliest":time|null,"after":"text",
 *   "records":["acme.example. 300 IN MX 20 hold.example.net."],
 *   "commands":["tideover start plan.json"],"confirm":"mx-horizon",
 *   "way_back":..,"no_return":bool}] */
struct json *timeline_json(const struct facts *facts);

#endif
