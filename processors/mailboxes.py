"""Names of mailboxes that belong to a role, such as info, and not to a person."""

from __future__ import annotations

# Not listed are words that are somebody's name, such as dean, job or house, and nearly all of two
# letters, which may be initials. A hyphen stands for "-", "_" or nothing, and for "." too behind
# "no" and "do". The list is our own selection: the names of RFC 2142; nine in ten of those that
# both AfterShip's email-verifier (MIT) and Reacher's check-if-email-exists know, whose lists go
# back to Mixmax' role-based-email-addresses (MIT); their singulars, plurals and translations.
_NAMES = """
    abuse academy accessibility account account-manager account-managers accountant accountants
    accounting accounts accounts-payable accounts-receivable acquisition ad-sales admin admin-team
    administration administrator administrators admins admissions adops ads adventure advertise
    advertisement advertisements advertising advertising-sales advice advisor advisors adwords
    affiliate affiliates agency agents alarm alarms alert alerts all all-employees all-hands
    all-sales all-staff all-students all-teachers all-team all-users alumni ambassadors analysts
    analytics android animation announce announcements api app applicant applicants application
    applications apply appointments apps archive archives ask ask-us assistance assistant assistants
    associates association ateam auction auctions audit auditor auto-confirm auto-reply
    auto-response backend backend-dev backoffice backup benefits billing bills biz bizdev blog board
    bod bookclub booking bookings bookkeeper bookkeeping bounce bounced bounces box-office branding
    brands broadcast broker brokers budget bugs build bulletin bursar busdev business
    business-development business-news business-team buyer buyers call-center campaign campaigns
    campus-team candidate candidates care career careers catalog catalogue catering central centro
    ceo ceos cert certificates cfo cfos channel-sales chat chatter chef chicago cio ciso
    city-managers classroom-teachers client clients clientservices clinic clinics cloud club clubs
    cmo co-op coaching code comments commercial commissions committee committees comms communication
    communications community company company-wide compete competition complaint complaints
    compliance concierge conference conferences connect consultant consultants consulting contact
    contact-form contact-us content contractor contractors contracts controller coo coordinator
    core-team corp corporate corporate-sales council courses creative creative-team credit crew crm
    csirt csm csteam cto ctos culture cust-serv customer customer-care customer-feedback
    customer-service customer-service-center customer-services customer-success customer-support
    customers daemon data data-privacy data-protection database deals deliveries delivery demo
    departures deploy deputy deputy-head design design-team designer designers dev-team developer
    developers development devnull devops devs digital digsitesvalue direction director directors
    directory discuss dispatch dispatcher distribution diversity dmca dns do-not-reply
    do-not-respond docs domain domain-management domain-managers domains donation donations donor
    donors dont-reply download dpo dream-team drivers e-commerce e-mail editor editorial editors
    education elections emails emergency employee employees employment eng eng-all engagement
    engineering engineers enq enquire enquires enquiries enquiry enrollment enrolment enterprise
    error errors estimates europe event events everybody everyone examinations exec exec-team execs
    executive executive-team executives exhibition expenses expert experts export exports facilities
    facility faculty family faq faqs fax fbl feedback fellows finance fiscal food football
    foundation founders franchise fraud freight friends front-desk front-office frontend fte ftp
    fulltime fun fundraising gdpr geeks general giving global grants graphics group growth guest
    guests hackathon hackers head-office head-teacher headquarters heads hello help help-desk
    helpline high-school hiring home homes hosting hostmaster hostmasters hotel hotline housekeeping
    hq hr hr-department hr-team hrdept human-resource human-resources ideas implementation import
    imports inbound inbox incident incidents info infoline infor information informativo infos infra
    infrastructure innovation inoc inquiries inquiry inside-sales insights instagram institute
    insurance integration integrations intern internal international internet interns internship
    inventory invest investment investor investor-relations investors invitation invitations invite
    invoice invoices invoicing ios iphone ispfeedback ispsupport it it-department it-help
    it-security it-service it-support it-team itunes jira jobs join journal junk kitchen lab labs
    ladies latam launch lead leaders leadership leadership-team leads leasing legal letters library
    licences license licensing links list list-admin list-master list-request listmanager listproc
    listserv login logistic logistics lunch magazine mail mail-admin mail-daemon mailbox mailer
    mailer-daemon mailers mailing mailman mails maintenance majordomo management management-group
    management-team manager managers marketing marketing-department marketing-ops marketing-team
    marketplace media meeting meetings meetup member member-services members membership mentors
    merchant merchants metrics mgmt middle-school misc mkt mktg mobile moderator moderators monitor
    monitoring montreal museum music network new-biz new-business news news-desk news-letter newyork
    nntp no-replay no-reply no-response no-spam nobody noc none northamerica not-reply notes notice
    notices notification notifications notify nps null nurse nurses nyc offboarding offers office
    office-admin office-manager office-staff officers offtopic onboarding online online-shop onsite
    ooo operation operations operator operators ops ops-team opt-in opt-out order order-desk orders
    organisation organization outage outreach owners packaging parents partner partners partnerships
    parts patients pay payables payment payments paypal payroll people people-managers people-ops
    performance personnel pharmacy phish phishing photo photos planning platform portfolio post
    postbox postfix postmaster postmasters ppc pr presales president press press-office pricing
    printing privacy procurement prod product product-growth product-management product-manager
    product-managers product-team production products program programme programmes programs project
    project-manager project-managers projects promo promotions proposal proposals public-affairs
    public-relations publication publications publicity publisher publishers purchase purchaser
    purchases purchasing qa quality questions quotation quotations quote quotes realestate receipt
    receipts receivables reception receptionist recruit recruiter recruiters recruiting
    recruiting-team recruitment recycling redaction referrals refund refunds register registrar
    registration registrations registry release releases reminder reminders remote remove renewal
    renewals rental rentals repair repairs replies reply reply-to report reporting reports
    representatives request requests research reservation reservations residents response responses
    restaurant restaurants resume resumes retail returns revenue review reviews rfp rnd rockstars
    root rsvp safety sale sales sales-department sales-engineers sales-office sales-ops
    sales-support sales-team salesforce samples san-francisco scheduling scholarship scholarships
    school school-office schools science sdr search seattle secretariat secretary security seminar
    seminars seniors seo server servers service service-center service-desk service-team services
    shareholders shipment shipments shipping shop shopify shopping shops signup signups singapore
    site smtp soc social social-club social-media software solutions sos spam speakers sponsor
    sponsors sponsorship sponsorships sport squad staff startups statistics stats stockholm storage
    store stores stories strategy student students studio studios submissions submit subscribe
    subscriber subscribers subscription subscriptions success suggestion suggestions superintendent
    supervisor supervisors supplier suppliers supply support support-desk support-team survey
    surveys switchboard sys-admin sys-ops sysop system system-admin systems talent tax teachers team
    team-leaders team-leads tech tech-ops tech-support tech-team technical technician technicians
    technology telesales tender tenders test testgroup testing the-office the-principal the-team
    theater theatre ticketing tickets time timesheets tools tour tourism tourist tracking trade
    trainee trainees trainer trainers training translation translations transport travel treasurer
    treasury tribe trustees tutors twitter undisclosed-recipients unsub unsubscribe update updates
    usa usenet user users usteam uucp vacancies vacancy vendor vendors venue venues verification
    verify video vip visitor visitors voicemail volunteer volunteering volunteers voucher vouchers
    warehouse watercooler web web-admin web-design web-dev web-team webinars webmaster webmasters
    website wedding weddings welcome whois wholesale women wordpress work workshop workshops writers
    www youth
"""
_GERMAN = """
    abrechnung abteilung anfrage anfragen angebot angebote anmeldung anmeldungen ansprechpartner
    anzeigen apotheke archiv auftraege auftrag ausbildung auskunft ausschreibung ausschreibungen
    auszubildende azubi azubis bauamt bauhof beratung beratungsstelle beschwerde beschwerden
    bestellservice bestellung bestellungen bewerbung bewerbungen bibliothek buchhaltung buchung
    buchungen buecherei buergerbuero buergermeister buero datenschutz datenschutzbeauftragter
    direktion disposition druckerei edv einkauf empfang entwicklung feuerwehr fibu finanzbuchhaltung
    finanzen fortbildung fragen fuhrpark gemeinde gemeindebuero geschaeftsfuehrer geschaeftsfuehrung
    geschaeftsleitung geschaeftsstelle grundschule haustechnik hausverwaltung hilfe hochschule
    immobilien impressum info-center infopost innendienst instandhaltung institut jugend jugendamt
    kanzlei karriere kasse kassenwart kassierer kindergarten kirche kita kontakt kontakte
    kundenberatung kundenbetreuung kundendienst kundenservice kundensupport kurse labor lager lehrer
    leitung leserbriefe lieferanten logistik lohn lohnabrechnung lohnbuchhaltung mahnung mahnungen
    mahnwesen miete mitarbeiter mitglied mitglieder mitgliederverwaltung mitgliedschaft musikschule
    notfall ordnungsamt patienten personal personalabteilung personalwesen pfarramt pfarrbuero
    planung posteingang poststelle praxis presse presseabteilung pressekontakt pressestelle
    produktion produktmanagement projekt projekte projektleitung qualitaet qualitaetsmanagement
    rathaus rechnung rechnungen rechnungseingang rechnungswesen rechtsabteilung redaktion reisebuero
    reklamation reklamationen reparatur reservierung reservierungen rezeption schatzmeister schule
    schulleitung schulung schulungen sekretariat seminare sicherheit sozialamt spende spenden
    stadtverwaltung standesamt stellen steuer stiftung technik teilnehmer termin termine
    terminvereinbarung tourismus touristinfo umfrage umfragen unterricht veranstaltung
    veranstaltungen verein verkauf verlag vermietung vermittlung versand versicherung vertraege
    vertrag vertrieb vertriebsinnendienst verwaltung vorsitzender vorstand warenannahme wareneingang
    webseite weiterbildung werbung werkstatt widerruf zahlung zahlungen zeitung zentrale
"""
_FRENCH = """
    abonnement abonnements accueil achat achats actualites adherent adherents adhesion adhesions
    agence agences annonce annonces appel bibliotheque bienvenue billetterie boutique bureau
    candidat candidats candidature candidatures carrieres clientele comite commande commandes
    commerciaux compta comptabilite comptable comptables concours contactez-nous contacts courriel
    courrier demande demandes desabonnement desinscription developpement devis directeur directrice
    dons dossier dossiers ecole emploi emplois encaissement espace-client etudes etudiants evenement
    evenements facturation facture factures finances formation formations fournisseur fournisseurs
    gerance gerant gestion gestionnaire informations informatique inscription inscriptions juridique
    laboratoire livraison livraisons location logistique magasin mairie mecenat mediatheque
    ne-pas-repondre nepasrepondre newsletters notaire paie paiement paiements partenaire partenaires
    partenariat partenariats pharmacie publicite qualite question recherche reclamation reclamations
    recouvrement recrutement recrutements remboursement renseignement renseignements
    ressources-humaines retour retours rgpd rh sav scolarite secretaire securite service-apres-vente
    service-client service-clients service-commercial service-technique services-generaux siege
    sinistre sinistres souscription stage stages support-client tarif tarifs technique tourisme
    tresorerie vente ventes webmestre
"""
# Spanish, Portuguese, Italian, Dutch, Polish, Swedish and others.
_FURTHER = """
    administracao administracion administrador administratie administratif administrativo admisiones
    agencia amministrazione asistente assistencia assistenza atencion-al-cliente atendimento
    biblioteca biglietteria biuro boekhouding butik capacitacion clientes colaboradores colegio
    comenzi comercial commerciale compras comunicacao comunicacion comunicaciones comunicazione
    consultas consultoria contabil contabilidad contabilidade contabilita contactenos contacto
    contactos contador contato contatti cultura direccion diretoria direzione ekonomi empleo
    engenharia envio envios equipo escritorio facturacion facturas faktura farmacia fattura
    fatturazione fatture faturamento financeiro finanzas firmapost geral gerencia hola informacion
    informatica informazioni ingenieria inkoop jornalismo kadry klantenservice ksiegowosc
    kundeservice kundservice laboratorio logistica logistiek nao-responda no-responder oficina
    operaciones ordini pedidos prefeitura prenotazioni presidencia presidente preventivi produccion
    produto protocollo proveedores publicidade qualidade recepcion recursos-humanos redacao
    redaccion redazione reklama rekrutacja relacionamento reserva reservaciones reservas rezervari
    ricerca rrhh secretaria secretariaat secretaris segreteria servicio-al-cliente sistemas sklep
    socios soporte suporte suprimentos tecnologia tesoreria todos turismo ufficio vendas ventas
    verkoop zakaz zamowienia
"""


def _spellings(name: str) -> list[str]:
    """Return the ways to write a name of the lists."""
    separators = ("-", "_", "", ".") if name.startswith(("no-", "do-")) else ("-", "_", "")
    return [name.replace("-", separator) for separator in separators]


ROLES = frozenset(
    spelling
    for name in f"{_NAMES} {_GERMAN} {_FRENCH} {_FURTHER}".split()
    for spelling in _spellings(name)
)
_LONGEST = max(map(len, ROLES))


def is_role(local: str) -> bool:
    """Return whether a local part is the name of a role."""
    return len(local) <= _LONGEST and local.lower() in ROLES
