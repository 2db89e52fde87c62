# ruff: noqa: E501 (a table of lists is easier to read with one a line)
import random
import tracemalloc
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular import encodings, reader
from tabular.formats import ENCODINGS, IntakeError, Overrides

# A header, and people with their towns, in the encodings that lists of their country come in.
LISTS = {
    "German": ("cp1252 mac-roman cp850 cp437", "Name;Straße", "Jörg Käßler;Köln|Günther Schäufele;Nürnberg|Änne Rößler;Gießen|Björn Mühlhaus;Lübeck|Käthe Höllriegl;Füssen|Übülent Groß;Bückeburg|Sören Weiß;Plön|Bärbel Öttl;Mühldorf"),
    "French": ("cp1252 mac-roman", "Prénom;Ville", "Hélène Bézu;Orléans|Benoît Fauchère;Saint-Étienne|Éloïse Garçon;Besançon|Jérôme Pâris;Nîmes|Zoé Lefèvre;Angoulême|Maëlle Prévôt;Sète|Anaïs Guérin;Béziers|François Bœuf;Évreux"),
    "Spanish": ("cp1252 mac-roman", "Teléfono;Población", "Íñigo Muñoz;Logroño|María Peñalver;Cádiz|Ángel Güell;Málaga|José Ordóñez;León|Begoña Núñez;Ávila|Ramón Díez;Córdoba|Inés Ibáñez;A Coruña|Óscar Cañas;Jaén"),
    "Portuguese": ("cp1252 mac-roman", "Endereço;Município", "João Conceição;São Tomé|Inês Magalhães;Guimarães|Antônio Assunção;Maceió|Lúcia Falcão;Évora|Vitória Brandão;Goiânia|Sebastião Leitão;Maranhão|Mônica Araújo;Belém|Patrícia Simões;Bragança"),
    "Nordic": ("cp1252 mac-roman cp850", "Förnamn;Ort", "Åsa Sjöberg;Örebro|Søren Bjørnstrup;Ærøskøbing|Pål Næss;Ålesund|Märta Öhlund;Växjö|Jørn Tveitå;Tromsø|Päivi Hämäläinen;Jyväskylä|Bjørg Årdal;Bodø|Göran Ekelöf;Malmö"),
    "Icelandic": ("cp1252", "Nafn;Bær", "Þórdís Ægisdóttir;Ísafjörður|Guðrún Þorláksdóttir;Hafnarfjörður|Ásgeir Öðinsson;Borgarnes|Sigríður Býfluga;Húsavík|Eyþór Blöndal;Siglufjörður|Böðvar Áki;Þorlákshöfn|Ægir Grímsson;Keflavík|Hjördís Ýr;Vík"),
    "Polish": ("cp1250 cp852 iso8859-2 mac-latin2", "Imię;Województwo", "Łucja Wróż;Łódź|Świętosław Gąsior;Kraków|Żaneta Ćwikła;Gdańsk|Michał Źrebiec;Poznań|Bożena Sęk;Wałcz|Zdzisław Kłąb;Rzeszów|Grażyna Mączka;Białystok|Wacław Śpiewak;Częstochowa"),
    "Czech": ("cp1250 cp852 iso8859-2 mac-latin2", "Jméno;Město", "Jiří Vořech;Plzeň|Božena Šťastná;Břeclav|Ondřej Kůň;Děčín|Růžena Žížalová;Třebíč|Matěj Čáp;Ústí nad Labem|Vojtěch Dvořáček;Olomouc|Anežka Říhová;Příbram|Zdeněk Přikryl;Žďár"),
    "Hungarian": ("cp1250 cp852", "Név;Település", "Szűcs Ernő;Győr|Erdős Jenő;Hajdúböszörmény|Kövér Gergő;Szőny|Fűzfa Béla;Fertőd|Őri Etelka;Érd|Tűzkő Márton;Békéscsaba|Bőgős Ágnes;Gödöllő|Hűvös Dénes;Dunaújváros"),
    "Slovak": ("cp1250", "Meno;Mesto", "Ľubica Šišková;Košice|Ďuro Kŕdeľ;Liptovský Mikuláš|Zdenko Hĺbka;Topoľčany|Božidara Ťažká;Žilina|Matúš Vŕba;Banská Štiavnica|Ľudmila Kôpková;Piešťany|Štefan Ráž;Michalovce|Tomáš Čeľusť;Trenčín"),
    "Croatian": ("cp1250", "Ime;Županija", "Željko Šišmanović;Šibenik|Đurđa Češljar;Čakovec|Krešimir Žganjer;Požega|Anđela Ćosić;Poreč|Božo Đukanić;Senj|Snježana Peršić;Varaždin|Mišo Kovačević;Križevci|Tončica Vučić;Omiš"),
    "Romanian": ("cp1250", "Prenume;Judeţ", "Ştefăniţă Răduţ;Iaşi|Mădălina Păunaş;Galaţi|Gheorghiţă Ţurcanu;Bistriţa|Cătălin Vîlcan;Târgu Mureş|Ileana Străchinaru;Ploieşti|Ioniţă Căldăraş;Piteşti|Viorică Şerbănescu;Timişoara|Răzvan Bălţatu;Reşiţa"),
    "Russian": ("cp1251 koi8-r cp866 mac-cyrillic", "Имя;Город", "Игнат Беспалов;Вологда|Ульяна Щукина;Ржев|Фёдор Ёлкин;Псков|Дарья Эйхенгольц;Тюмень|Пётр Хомяков;Суздаль|Юлия Жаворонкова;Якутск|Степан Цаплин;Елец|Анфиса Чижова;Омск"),
    "Ukrainian": ("cp1251 koi8-u", "Ім'я;Місто", "Їжакевич Ґалаґан;Чернігів|Соломія Вітряк;Львів|Євген Її;Київ|Олесь Підгірний;Кропивницький|Ганна Ящірка;Вінниця|Зиновій Їжа;Ужгород|Мирослава Щедрик;Рівне|Остап Є;Хмельницький"),
    "Bulgarian": ("cp1251", "Име;Град", "Цветелина Щърбова;Пловдив|Ангел Къртев;Търговище|Юлиян Жълтов;Видин|Росица Ъглова;Смолян|Хараламби Чушков;Бургас|Гергана Пъдпъдъкова;Русе|Яворка Шипкова;Сливен|Първан Бъчваров;Кърджали"),
    "Greek": ("cp1253", "Όνομα;Πόλη", "Ξανθίππη Ψαρρά;Ιωάννινα|Φώτης Χελιδόνης;Τρίκαλα|Ευδοξία Ζερβού;Λαμία|Ηρακλής Ωραίος;Κέρκυρα|Άννα Θύμιου;Ξάνθη|Γεράσιμος Μύλος;Σπάρτη|Δέσποινα Ρήγα;Βόλος|Ίων Κατσικάς;Ρόδος"),
    "Turkish": ("cp1254", "İsim;Şehir", "Yağız Karabıyık;Muş|Gülşah Çalışkan;Diyarbakır|Ömer Işıldak;İzmit|Şule Başaran;Niğde|Çağla Öztuğ;Uşak|İnci Doğanay;Aydın|Kıvanç Gürsoy;Elâzığ|Tuğba Şimşekoğlu;Çankırı"),
    "Lithuanian": ("cp1257", "Vardas;Gyvenvietė", "Žydrūnas Šaltinis;Šiauliai|Eglė Ąžuolytė;Panevėžys|Rūta Ežerienė;Tauragė|Kęstutis Žvirblys;Kėdainiai|Ugnė Šiškutė;Plungė|Mindaugas Čiurlys;Mažeikiai|Birutė Rąstaitė;Biržai|Vytenis Ūdras;Rokiškis"),
    "Latvian": ("cp1257", "Vārds;Apdzīvota vieta", "Jānis Bērziņš;Rīga|Ilze Krūmiņa;Liepāja|Mārtiņš Vītoliņš;Jūrmala|Ķirša Ģederte;Cēsis|Zaiga Pļaviņa;Rēzekne|Ēriks Ābeltiņš;Jēkabpils|Līga Čakste;Talsi|Raitis Šķēle;Kuldīga"),
    "Estonian": ("cp1257", "Eesnimi;Küla", "Õie Põder;Võru|Jüri Tõnisson;Pärnu|Ülle Kärner;Põlva|Šura Žarov;Kohtla-Järve|Mõmm Käpp;Jõgeva|Žanna Orlova;Haapsalu|Tõnu Pähn;Jõhvi|Kätlin Šmidt;Sõrve"),
    "Japanese": ("cp932", "氏名;住所", "小笠原 あゆみ;北海道函館市|髙瀬 健司;石川県金沢市|渡会 ソノ;静岡県沼津市|五十嵐 誠;新潟県長岡市|黒川 ユキ;宮崎県延岡市|桐山 悠太;愛媛県今治市|野々村 さくら;長野県松本市|綾部 剛;大分県別府市"),
    "Simplified Chinese": ("gb18030", "姓名;城市", "欧阳晓燕;洛阳市|贾文博;昆明市|龚雪梅;桂林市|薛建国;贵阳市|汤思远;兰州市|邹丽华;温州市|尹浩然;九江市|阎秀英;大理"),
    "Traditional Chinese": ("big5hkscs", "姓名;地址", "歐陽曉雯;臺中市|賴建宏;基隆市|簡雅婷;嘉義縣|鍾佩珊;屏東縣|魏志豪;花蓮縣|游惠玲;宜蘭縣|恒春生;澎湖縣|塗文傑;苗栗縣"),
    "Korean": ("cp949", "이름;주소", "남궁하늘;강원도 속초시|황보라;전라북도 군산시|선우진영;경상남도 통영시|제갈민수;충청북도 제천시|독고은비;제주시|사공혜린;부산광역시 해운대구|탁재호;경기도 파주시|표다인;세종시"),
    "Hebrew": ("cp1255", "שם;עיר", "נעמה ברקוביץ;חיפה|אליעזר גולן;צפת|שירה פרידמן;טבריה|יונתן צוקרמן;אילת|תמר קליין;נתניה|הלל זוהר;עכו"),
    "Arabic": ("cp1256", "الاسم;المدينة", "سلمى القيسي;البصرة|طارق الحداد;نابلس|هدى الشامي;طنجة|وليد البستاني;صيدا|رانيا الخطيب;المنصورة|يوسف العطار;صفاقس"),
    "Thai": ("cp874", "ชื่อ;จังหวัด", "สมศรี ใจกล้า;เชียงราย|ประเสริฐ ทองดี;ขอนแก่น|วิไล สุขสันต์;ภูเก็ต|ธนา เรืองศรี;อยุธยา"),
}  # fmt: skip
CASES = {
    f"{language} in {encoding}": (encoding, header, people.split("|"))
    for language, (names, header, people) in LISTS.items()
    for encoding in names.split()
}
ASCII = "".join(f"Anna Roe {i};Berlin;a{i}@firma.example\n" for i in range(3_000))


def a_list(header, people, rows, seed=1):
    """The text of a list in which people's names and towns are put together anew."""
    rng = random.Random(seed)
    pairs = [person.split(";") for person in people]
    lines = [f"{header};E-Mail"]
    for number in range(rows):
        lines.append(f"{rng.choice(pairs)[0]};{rng.choice(pairs)[1]};k{number}@firma.example")
    return "\n".join(lines) + "\n"


def decoded(content):
    """The text of a file in the encoding that is found."""
    file = BytesIO(content)
    found = encodings.encoding_of(file)
    assert file.tell() == 0
    return content.decode(found)


@pytest.mark.parametrize(("encoding", "header", "people"), CASES.values(), ids=CASES)
def test_names_are_read_right(encoding, header, people):
    for rows in (20, 2_000):
        text = a_list(header, people, rows)
        assert decoded(text.encode(encoding)) == text
    late = ASCII + a_list(header, people, 6).split("\n", 1)[1]
    assert decoded(late.encode(encoding)) == late


@pytest.mark.parametrize(("encoding", "header", "people"), CASES.values(), ids=CASES)
def test_what_is_not_certain_is_among_the_candidates(encoding, header, people):
    for number, person in enumerate(people[:3]):
        text = a_list("Name;Ort", people[number:] + people[:number], 1, seed=number)
        content = text.encode(encoding)
        file = BytesIO(content)
        offered = [each.encoding for each in encodings.candidates(file)]
        assert file.tell() == 0
        assert (offered or [encodings.encoding_of(file)])[0] == encodings.encoding_of(file)
        read = [content.decode(each) for each in offered or [encodings.encoding_of(file)]]
        assert text in read, (person, offered)


@pytest.mark.parametrize(
    ("encoding", "language"),
    [("cp1250", "Polish"), ("cp1250", "Czech"), ("cp1254", "Turkish"), ("cp1257", "Lithuanian")],
)
def test_a_few_foreign_names_among_many_are_seen(encoding, language):
    _, header, people = CASES[f"{language} in {encoding}"]
    many = a_list("Name;Ort", CASES["German in cp1252"][2], 20_000)
    few = a_list(header, people, 8).split("\n", 1)[1]
    text = many + few + many
    assert decoded(text.encode(encoding)) == text


def test_names_of_many_countries_are_western():
    people = [p for language in ("German", "French", "Spanish", "Nordic") for p in LISTS[language][2].split("|")]  # fmt: skip
    for rows in (20, 2_000):
        text = a_list("Name;Ort", people, rows)
        assert decoded(text.encode("cp1252")) == text


NOTES = "Zoë “Zo” Müller;5 €;‘ja’, l’été – c’est\nMüller & Söhne – „Groß“;«Été»;naïve…\nGROẞE; GRÖSSE;ÉTÉ\n".replace(
    "ẞ", "ß"
)


@pytest.mark.parametrize("before", [0, 200_000])
def test_quotes_and_dashes_are_no_letters(before):
    text = "a@x.de\n" * before + NOTES
    assert decoded(text.encode("cp1252")) == text


@pytest.mark.parametrize("text", ["5 €", "Berlin – Bonn", "m²", "“Anna’s”;Driver’s Guild", "© Roe"])
def test_punctuation_is_that_of_windows(text):
    content = f"note\n{text}\n".encode("cp1252")
    assert decoded(content) == f"note\n{text}\n"
    assert encodings.candidates(BytesIO(content)) == []


@pytest.mark.parametrize("end", ["\r\n", "\r", ", ", "\t"])
def test_any_line_end_will_do(end):
    _, header, people = CASES["Polish in cp1250"]
    text = a_list(header, people, 5_000).replace("\n", end)
    assert decoded(text.encode("cp1250")) == text


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("language", ["German", "Russian", "Japanese", "Korean"])
def test_utf_16_needs_no_byte_order_mark(encoding, language):
    text = a_list(LISTS[language][1], LISTS[language][2].split("|"), 200)
    assert decoded(text.encode(encoding)) == text
    assert encodings.encoding_of(BytesIO(text.encode("utf-16")), "utf-16-le") == "utf-16"
    assert encodings.encoding_of(BytesIO(text.encode(encoding)), "utf-16") == "utf-16-le"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_what_is_certain_has_no_candidates(encoding):
    text = "name\nJurgen\n" if encoding == "ascii" else "name\nJürgen;Łódź\n"
    assert encodings.candidates(BytesIO(text.encode(encoding))) == []
    _, header, people = CASES["Greek in cp1253"]
    assert encodings.candidates(BytesIO(a_list(header, people, 20).encode("cp1253"))) == []


def test_candidates_show_what_tells_them_apart():
    people = "\n".join(f"Müller {i};m{i}@x.example" for i in range(50))
    notes = "Wohnt bei Frau Yıldız im Haus gegenüber, dritte Klingel von oben links im Hof"
    content = f"{people}\n{notes.replace(',', '')};y@x.example\n".encode("cp1254")
    first, second, *_ = encodings.candidates(BytesIO(content))
    assert {first.encoding, second.encoding} == {"cp1254", "cp1252"}
    texts = {each.encoding: each.texts for each in (first, second)}
    assert "Yıldız" in texts["cp1254"][0]
    assert "Yýldýz" in texts["cp1252"][0]
    assert len(first.texts) == 3
    assert max(map(len, first.texts)) <= encodings.EXAMPLE_LENGTH


def test_a_mistake_in_utf_8_is_told_with_its_line():
    people = CASES["Czech in cp1250"][2]
    content = a_list("Jméno;Město", people, 300).encode() + "Jörg;Köln\n".encode("cp1252")
    with pytest.raises(IntakeError) as caught:
        for _ in reader.read(BytesIO(content), Overrides()).blocks():
            pass
    assert (caught.value.code, caught.value.line) == ("undecodable", 302)
    assert encodings.candidates(BytesIO(content)) == []


@pytest.mark.parametrize("damage", [b"J\x81rgen", "Ærøskøbing Í".encode(), b"J\xf6\x01rg"])
def test_a_damaged_name_does_not_change_the_others(damage):
    content = a_list("Name;Ort", CASES["German in cp1252"][2], 300).encode("cp1252")
    content += damage + b";a@x.example\n"
    assert encodings.encoding_of(BytesIO(content)) == "cp1252"


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("junk", [b"\xff\x00\x01", b"\x81\x02"])
def test_what_is_no_text_is_refused_with_its_line(end, junk):
    with pytest.raises(IntakeError) as caught:
        encodings.encoding_of(BytesIO(end.join([b"a@x.de"] * 200_000 + [junk])))
    assert (caught.value.code, caught.value.line) == ("not_utf8", 200_001)


def test_a_character_on_the_edge_of_a_block_is_no_mistake():
    for before in range(encodings.BLOCK - 3, encodings.BLOCK + 1):
        assert encodings.encoding_of(BytesIO(b"a" * before + "€".encode())) == "utf-8"
    cut = b"a" * (encodings.BLOCK - 1) + "€".encode()[:2]
    with pytest.raises(IntakeError):
        encodings.encoding_of(BytesIO(cut + b"\x01"))


def test_the_sample_is_small_however_large_the_file():
    rng = random.Random(3)
    names = ["".join(rng.choice("aeiouäöüßnrst") for _ in range(9)) for _ in range(20_000)]
    content = "\n".join(f"{name};a@x.example" for name in names * 10).encode("cp1252")
    file = BytesIO(content)
    tracemalloc.start()
    try:
        assert encodings.encoding_of(file) == "cp1252"
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert sum(map(len, encodings._sample(file))) <= 2 * encodings.SAMPLE


CONTENTS = st.binary(max_size=400) | st.builds(
    lambda text, encoding: text.encode(encoding, "replace"),
    st.text(st.sampled_from('aZ,\n"@1 ÄéøŁőşģжЩΩא中あ한…”§')),
    st.sampled_from(ENCODINGS),
)


def is_read(file, **overrides):
    """Whether the file can be read as text that can be stored; if not, it is refused."""
    try:
        for block in reader.read(file, Overrides(**overrides)).blocks():
            "".join(cell for row in block.cells(",") for cell in row).encode()
    except IntakeError:
        return False
    return True


@settings(max_examples=60)
@given(CONTENTS)
def test_any_bytes_have_an_encoding_or_are_refused(content):
    file = BytesIO(content)
    offered = encodings.candidates(file)
    assert len(offered) <= encodings.CANDIDATES
    assert len({tuple(each.texts) for each in offered}) == len(offered)
    if is_read(file) and offered:
        assert offered[0].encoding == encodings.encoding_of(file)


@settings(max_examples=200)
@given(CONTENTS, st.sampled_from(ENCODINGS))
def test_any_bytes_are_read_in_any_encoding_or_are_refused(content, encoding):
    is_read(BytesIO(content), encoding=encoding)
