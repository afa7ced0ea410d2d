/* xmlSAXUserParseMemory with SAX1 callbacks, for a plugin that is built on them.

   Debian 12's libxml2 (2.9.14+dfsg-1.3~deb12u5 and u6 were tried) does not call startElement and endElement of a handler
   that says it knows SAX2 and has no callbacks of SAX2. The plugin SIPE hands in just such a handler, and then finds every
   document empty: no contacts, no presence, no typing. The program that this is part of exports a function of the same
   name, which comes before the library's when the plugin is loaded; it reads the document into a tree and walks it. */

#include <libxml/parser.h>
#include <libxml/tree.h>

#define MAXIMUM_DEPTH 256

static xmlChar *qualified(const xmlChar *name, const xmlNs *space)
{
    return space != NULL && space->prefix != NULL ? xmlBuildQName(name, space->prefix, NULL, 0) : xmlStrdup(name);
}

static void start(const xmlSAXHandler *handler, void *data, xmlNode *element, const xmlChar *name)
{
    size_t count = 0;
    for (xmlNs *space = element->nsDef; space != NULL; space = space->next) {
        count += 2;
    }
    for (xmlAttr *attribute = element->properties; attribute != NULL; attribute = attribute->next) {
        count += 2;
    }
    const xmlChar **attributes = xmlMalloc((count + 1) * sizeof *attributes);
    size_t filled = 0;
    for (xmlNs *space = element->nsDef; space != NULL; space = space->next) {
        attributes[filled++] =
            space->prefix != NULL ? xmlBuildQName(space->prefix, BAD_CAST "xmlns", NULL, 0) : xmlStrdup(BAD_CAST "xmlns");
        attributes[filled++] = xmlStrdup(space->href != NULL ? space->href : BAD_CAST "");
    }
    for (xmlAttr *attribute = element->properties; attribute != NULL; attribute = attribute->next) {
        xmlChar *value = xmlNodeListGetString(element->doc, attribute->children, 1);
        attributes[filled++] = qualified(attribute->name, attribute->ns);
        attributes[filled++] = value != NULL ? value : xmlStrdup(BAD_CAST "");
    }
    attributes[filled] = NULL;
    handler->startElement(data, name, count > 0 ? attributes : NULL);
    for (size_t index = 0; index < filled; index++) {
        xmlFree((void *)attributes[index]);
    }
    xmlFree(attributes);
}

static void walk(const xmlSAXHandler *handler, void *data, xmlNode *node, int depth)
{
    for (; node != NULL; node = node->next) {
        if (node->type == XML_ELEMENT_NODE && depth < MAXIMUM_DEPTH) {
            xmlChar *name = qualified(node->name, node->ns);
            if (handler->startElement != NULL) {
                start(handler, data, node, name);
            }
            walk(handler, data, node->children, depth + 1);
            if (handler->endElement != NULL) {
                handler->endElement(data, name);
            }
            xmlFree(name);
        } else if ((node->type == XML_TEXT_NODE || node->type == XML_CDATA_SECTION_NODE) && handler->characters != NULL) {
            handler->characters(data, node->content, xmlStrlen(node->content));
        }
    }
}

__attribute__((visibility("default"))) int xmlSAXUserParseMemory(xmlSAXHandlerPtr handler, void *data, const char *text, int length)
{
    xmlResetLastError();
    xmlDoc *document = xmlReadMemory(text, length, NULL, NULL, XML_PARSE_NOENT | XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    if (document == NULL) {
        xmlErrorPtr fault = xmlGetLastError();
        if (fault != NULL && handler->initialized == XML_SAX2_MAGIC && handler->serror != NULL) {
            handler->serror(data, fault);
        }
        return fault != NULL ? fault->code : -1;
    }
    walk(handler, data, xmlDocGetRootElement(document), 0);
    xmlFreeDoc(document);
    return 0;
}
