/* core/server/openapi.h - the published documents, generated from the routes that are served.
 *
 * Path, method, summary, parameters of the path, credentials and failures come from the route table.
 * What a table cannot say, bodies and schemas, comes from the capability's `openapi` text: YAML in
 * this fixed layout, two blanks per level, so that it can be put together without parsing:
 *
 *     paths:
 *       /gateway/fetch:
 *         post:
 *           requestBody: ...          any members of an operation; `responses` and `parameters`
 *           responses: ...            complete what is generated
 *     schemas:
 *       FetchRequest: ...             referred to as '#/components/schemas/FetchRequest'
 */
#ifndef CORE_SERVER_OPENAPI_H
#define CORE_SERVER_OPENAPI_H

#include "http/router.h"
#include "lib/buf.h"

void openapi_http(struct buf *b, const struct router *r);  /* OpenAPI 3.0.3 */
void openapi_wss(struct buf *b);                           /* OpenAPI 3.1.0: no websocket yet */

#endif
