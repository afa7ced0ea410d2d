/* What a session of Sametime serves beside itself: awareness, conversations, names, storage. */
#ifndef MEANWHILE_SERVICES_H
#define MEANWHILE_SERVICES_H

#include <mw_service.h>
#include <mw_session.h>
#include <mw_srvc_aware.h>
#include <mw_srvc_im.h>
#include <mw_srvc_resolve.h>
#include <mw_srvc_store.h>

#include "json_lines.h"

struct meanwhile_services {
    struct mwServiceAware *awareness;
    struct mwAwareList *watched;
    struct mwServiceIm *messages;
    struct mwServiceResolve *resolver;
    struct mwServiceStorage *storage;
};

/* Adds all of them to a session; what they hear becomes events. */
void meanwhile_serve(struct mwSession *session, struct meanwhile_services *services);

/* The conversation with whom a command names, and a message in it, which waits until it is open. */
struct mwConversation *meanwhile_conversation(JsonObject *command);
void meanwhile_send(JsonObject *command);

/* Prints what was asked for. */
void meanwhile_resolved(struct mwServiceResolve *service, guint32 id, guint32 code, GList *results, gpointer data);
void meanwhile_loaded(struct mwServiceStorage *service, guint32 code, struct mwStorageUnit *item, gpointer data);
void meanwhile_saved(struct mwServiceStorage *service, guint32 code, struct mwStorageUnit *item, gpointer data);

#endif
